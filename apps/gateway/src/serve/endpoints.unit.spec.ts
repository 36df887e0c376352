import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { otherEndpoint, targetOf } from './endpoints.ts';

const page = readFileSync(join(import.meta.dirname, '../../../../docs/gateway.md'), 'utf8');
const table = page.slice(page.indexOf('| endpoint |'), page.indexOf('**Responses**'));
/** Paths in the first column of the page's table. */
const documented = table
  .split('\n')
  .slice(2)
  .flatMap((row) => [...(row.split('|')[1] ?? '').matchAll(/`(?:[A-Z]+ )?(\/[^`]+)`/g)].map(([, path]) => path!));
/** Answered by the framework, which sees what is none of the data plane's. */
const own = ['/health', '/ready', '/metrics'];

describe('what docs/gateway.md lists is served:', () => {
  test('all that a client of the common APIs asks for is listed', () => {
    const wanted = `/v1/chat/completions /v1/completions /v1/responses /v1/messages /v1/messages/count_tokens /v1/embeddings
      /v1/rerank /v1/score /v1/classify /v1/moderations /v1/audio/transcriptions /v1/audio/translations /v1/audio/speech
      /v1/images/generations /v1/video/generations /v1/realtime /v1/models /v1/models/{id} /tokenize /health /ready /metrics`;
    expect(documented).toEqual(expect.arrayContaining(wanted.split(/\s+/)));
  });

  test.each(documented)('%s', (path) => {
    const target = targetOf(path.replace('{id}', 'abc'));
    if (own.includes(path)) expect(target).toBeUndefined();
    else {
      expect(target?.endpoint).not.toBe(otherEndpoint);
      expect(target?.endpoint.path).toBe(path === '/v1/models/{id}' ? '/v1/models' : path);
    }
  });
});

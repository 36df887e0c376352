import { createServer } from 'node:http';
import { afterEach, expect, test } from '@jest/globals';
import { trace } from '@opentelemetry/api';
import { eventually } from '#libs/testkit';
import { startTracing } from './tracing.ts';

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

test('spans reach the collector at the latest when tracing stops', async () => {
  const paths: string[] = [];
  let bytes = '';
  const collector = createServer((request, response) => {
    paths.push(request.url ?? '');
    request.on('data', (chunk: Buffer) => (bytes += chunk.toString('latin1')));
    request.on('end', () => response.end('{}'));
  });
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
  stops.push(async () => {
    collector.closeAllConnections();
    await new Promise((resolve) => collector.close(resolve));
  });
  const { port } = collector.address() as { port: number };
  const stop = startTracing({ service: 'lintel-test', version: '1', endpoint: `http://127.0.0.1:${port}` });
  // The SDK is loaded only now; a span before that is a no-op.
  await eventually(() => {
    const span = trace.getTracer('test').startSpan('a span of the test');
    expect(span.isRecording()).toBe(true);
    span.end();
  });
  await stop();
  expect(paths).toEqual(['/v1/traces']);
  expect(bytes).toContain('a span of the test');
  expect(bytes).toContain('lintel-test');
  trace.disable();
});

import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import { afterwards, closeAll, engine, gateway, post } from './serve.fixture.ts';

afterEach(closeAll);

const pixel =
  'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const usage = { prompt_tokens: 4, completion_tokens: 1 };

/** Counts who comes, and answers nobody. */
async function listener(): Promise<{ readonly url: string; connections(): number }> {
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    socket.destroy();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  afterwards(() => new Promise((resolve) => server.close(() => resolve())));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, connections: () => connections };
}

test.each([
  [
    '/v1/chat/completions',
    (url: string) => ({
      messages: [
        {
          role: 'user',
          content: [
            { type: 'text', text: 'What is this?' },
            { type: 'image_url', image_url: { url: `${url}/a.png` } },
            { type: 'image_url', image_url: { url: pixel } },
            { type: 'video_url', video_url: { url: `${url}/a.mp4` } },
            { type: 'input_audio', input_audio: { data: 'AAAA', format: 'wav' } },
          ],
        },
      ],
    }),
  ],
  [
    '/v1/responses',
    (url: string) => ({
      input: [
        {
          role: 'user',
          content: [
            { type: 'input_image', image_url: `${url}/b.png` },
            { type: 'input_image', image_url: pixel },
          ],
        },
      ],
    }),
  ],
  [
    '/v1/messages',
    (url: string) => ({
      max_tokens: 4,
      messages: [
        {
          role: 'user',
          content: [
            { type: 'image', source: { type: 'url', url: `${url}/c.png` } },
            { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AAAA' } },
          ],
        },
      ],
    }),
  ],
  [
    '/v1/embeddings',
    (url: string) => ({ messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url } }] }] }),
  ],
])(
  'images of %s, by address or in the body, reach the engine as they came; the gateway fetches none',
  async (path, bodyOf) => {
    const target = await listener();
    const bodies: string[] = [];
    const origin = await engine((body, response) => {
      bodies.push(body);
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ id: 'x', choices: [], usage }));
    });
    const lintel = await gateway([origin, origin], {});
    const body = JSON.stringify({ model: 'tiny', ...bodyOf(target.url) });
    for (const strategy of ['lintel', 'prefix-cache', 'random']) {
      const response = await post(lintel, body, { 'routing-strategy': strategy }, path);
      expect(response.status).toBe(200);
      await response.text();
    }
    expect(bodies).toEqual([body, body, body]);
    expect(target.connections()).toBe(0);
  },
);

test('a message with an image that is translated for its engine still names the address and nothing more', async () => {
  const target = await listener();
  const bodies: string[] = [];
  const origin = await engine((body, response, request) => {
    if (request.url === '/v1/messages') return void response.writeHead(404).end('{"detail":"Not Found"}');
    bodies.push(body);
    const choices = [{ index: 0, message: { role: 'assistant', content: 'a dot' }, finish_reason: 'stop' }];
    response
      .writeHead(200, { 'content-type': 'application/json' })
      .end(JSON.stringify({ id: 'x', model: 'tiny', choices, usage }));
  });
  const lintel = await gateway([origin]);
  const source = { type: 'url', url: `${target.url}/c.png` };
  const messages = [{ role: 'user', content: [{ type: 'image', source }] }];
  const response = await post(lintel, JSON.stringify({ model: 'tiny', max_tokens: 4, messages }), {}, '/v1/messages');
  expect(response.status).toBe(200);
  expect(bodies).toHaveLength(1);
  expect(bodies[0]).toContain(source.url);
  expect(target.connections()).toBe(0);
});

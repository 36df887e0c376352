import { create } from '@bufbuild/protobuf';
import type { JsonObject } from '@bufbuild/protobuf';
import type { Socket } from 'node:net';
import { route } from '#libs/contracts';
import type { TestGateway } from './serve.fixture.ts';
import { rawEngine } from './serve.fixture.ts';

/** The model's one profile. */
export function setProfile({ state }: TestGateway, routingConfig: JsonObject, strategy = 'round-robin'): void {
  state.route.policyByModel.set('tiny', {
    policy: create(route.RoutingPolicySchema, {
      policyId: 'p',
      models: ['tiny'],
      profiles: [{ name: 'streams', strategy, routingConfig }],
    }),
    source: 'test',
    version: 1,
    seq: 5,
    commitId: 'c',
  });
}

export interface Asked {
  readonly prompt?: string;
  readonly messages?: readonly { readonly role: string; readonly content: string }[];
  readonly max_tokens?: number;
  readonly stream_options?: { readonly include_usage?: boolean };
}

const words =
  'Once upon a time a ünüsual 漢字 🚀 was there and it wrote "quotes" \\ and\nlines\n\nuntil the very end .'.split(
    /(?=[ \n])/,
  );
export const story = words.join('');
export const storyTokens = words.length;

/** What an engine whose next word depends on the text before it alone would stream. */
function answerTo(asked: Asked, id: string): string {
  const chat = asked.messages !== undefined;
  const last = asked.messages?.at(-1);
  const given = chat ? (last?.role === 'assistant' ? last.content : '') : (asked.prompt ?? '').replace(/^Tell: /, '');
  let at = 0;
  const said: string[] = [];
  let givenTokens = 0;
  for (const word of words) {
    if (at < given.length) givenTokens++;
    else if (said.length < (asked.max_tokens ?? 1000)) said.push(word);
    at += word.length;
  }
  const head = { id, object: chat ? 'chat.completion.chunk' : 'text_completion', created: 1, model: 'tiny' };
  const one = (text: string, finish: string | null, role = {}): unknown => ({
    ...head,
    choices: [{ index: 0, ...(chat ? { delta: { ...role, content: text } } : { text }), finish_reason: finish }],
  });
  const promptTokens = 2 + givenTokens;
  const usage = {
    prompt_tokens: promptTokens,
    completion_tokens: said.length,
    total_tokens: promptTokens + said.length,
  };
  const events: unknown[] = [
    ...(chat ? [one('', null, { role: 'assistant' })] : []),
    ...said.map((word) => one(word, null)),
    one('', 'stop'),
    ...(asked.stream_options?.include_usage === true ? [{ ...head, choices: [], usage }] : []),
  ];
  return `${events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join('')}data: [DONE]\n\n`;
}

export interface StoryEngine {
  readonly origin: string;
  readonly asked: Asked[];
}

/** Tells the story from wherever it is asked to go on; its connection is lost after so many bytes of the stream, by the request. */
export async function storyEngine(
  name: string,
  diesAfter: (asked: Asked, total: number) => number,
): Promise<StoryEngine> {
  const asked: Asked[] = [];
  let pending = '';
  const origin = await rawEngine((socket: Socket, data) => {
    pending = data.startsWith('POST ') ? data : pending + data;
    const split = pending.indexOf('\r\n\r\n');
    const body = Buffer.from(pending.slice(split + 4), 'latin1');
    if (split < 0 || body.length < Number(/content-length: (\d+)/i.exec(pending)?.[1])) return;
    const request = JSON.parse(body.toString('utf8')) as Asked;
    asked.push(request);
    const bytes = Buffer.from(answerTo(request, `${name}-${asked.length}`));
    const until = diesAfter(request, bytes.length);
    socket.write('HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n');
    const part = bytes.subarray(0, until);
    for (let at = 0; at < part.length; at += 37) {
      const piece = part.subarray(at, at + 37);
      socket.write(Buffer.concat([Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from('\r\n')]));
    }
    if (until >= bytes.length) socket.write('0\r\n\r\n');
    else setImmediate(() => socket.end());
  });
  return { origin, asked };
}

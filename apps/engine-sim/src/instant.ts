import type { IncomingMessage, ServerResponse } from 'node:http';
import { totals } from './chat.ts';
import type { EngineSimSettings } from './options.ts';

const text = ' the sea and old sun low red sky';
const pieces = text.match(/ \w+/g) ?? [];
const tail = ['"stream":true', '"stream": true'];

type Answers = Readonly<Record<'whole' | 'stream', Buffer>>;

function answers(
  object: string,
  choice: (said: string) => object,
  chunk: (said: string) => object,
  model: string,
): Answers {
  const base = { id: 'instant', created: 0, model };
  const whole = {
    ...base,
    object,
    choices: [{ index: 0, ...choice(text), finish_reason: 'stop' }],
    usage: totals(pieces.length, pieces.length),
  };
  const events = pieces.map((said, index) => ({
    ...base,
    object: object === 'chat.completion' ? 'chat.completion.chunk' : object,
    choices: [{ index: 0, ...chunk(said), finish_reason: index === pieces.length - 1 ? 'stop' : null }],
  }));
  const lines = events.map((event) => `data: ${JSON.stringify(event)}\n\n`);
  return {
    whole: Buffer.from(JSON.stringify(whole)),
    stream: Buffer.from(`${lines.join('')}data: [DONE]\n\n`),
  };
}

/** Constant answers for proxy benches: no model, no parsing, one write. */
export class Instant {
  readonly #answers: ReadonlyMap<string, Answers>;

  constructor({ models }: EngineSimSettings) {
    const model = models[0]!;
    this.#answers = new Map([
      [
        '/v1/chat/completions',
        answers(
          'chat.completion',
          (content) => ({ message: { role: 'assistant', content } }),
          (content) => ({ delta: { content } }),
          model,
        ),
      ],
      [
        '/v1/completions',
        answers(
          'text_completion',
          (said) => ({ text: said }),
          (said) => ({ text: said }),
          model,
        ),
      ],
    ]);
  }

  /** False when this is not a request for text: the ordinary handlers serve it. */
  answer(request: IncomingMessage, response: ServerResponse): boolean {
    const ready = this.#answers.get(request.url ?? '');
    if (ready === undefined || request.method !== 'POST') return false;
    let streamed = false;
    request.on('data', (chunk: Buffer) => {
      streamed ||= tail.some((wanted) => chunk.includes(wanted));
    });
    request.on('end', () => {
      const body = streamed ? ready.stream : ready.whole;
      response.writeHead(200, {
        'content-type': streamed ? 'text/event-stream; charset=utf-8' : 'application/json',
        ...(streamed ? {} : { 'content-length': body.length }),
      });
      response.end(body);
    });
    return true;
  }
}

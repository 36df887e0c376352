import { checkedPrompt } from './chat.ts';
import type { Ending, Generation } from './generation.ts';
import type { Exchange } from './http.ts';
import { generate, samplingOf, usageOf } from './sampling.ts';
import type { EventStream } from './stream.ts';
import { type Sim, bodyOf, chooseModel, requestId } from './sim.ts';
import { type Body, checkContents, checkSampling, checkTypes } from './validate.ts';

const kinds = { messages: 'list', max_tokens: 'int', temperature: 'float', top_p: 'float', stream: 'bool' } as const;

function promptOf(sim: Sim, body: Body, required: readonly string[]): number[] {
  checkTypes(body, kinds, required);
  const messages = body['messages'] as unknown[];
  checkContents(messages);
  const { system } = body;
  return checkedPrompt(sim, {
    messages: system === undefined || system === null ? messages : [{ role: 'system', content: system }, ...messages],
  });
}

/** The end in the words of this API. */
function stopReason({ reason, stopReason: stop }: Ending): [string, string | null] {
  if (reason === 'length') return ['max_tokens', null];
  return stop === null ? ['end_turn', null] : ['stop_sequence', stop];
}

function usage(sim: Sim, generation: Generation): unknown {
  const { prompt, completion, cached, created } = usageOf(sim, [generation], 1);
  return {
    input_tokens: prompt - cached,
    output_tokens: completion,
    cache_creation_input_tokens: created,
    cache_read_input_tokens: cached,
  };
}

export async function messages(sim: Sim, exchange: Exchange): Promise<void> {
  const body = await bodyOf(exchange);
  const chosen = chooseModel(sim, body['model']);
  const prompt = promptOf(sim, body, ['messages', 'max_tokens']);
  const maxTokens = body['max_tokens'] as number;
  checkSampling(body, maxTokens, sim.settings.maxModelLen);
  const sampling = samplingOf(sim, { ...body, n: 1 }, maxTokens, chosen, { remoteTokens: undefined, hold: false });
  const id = `chatcmpl-${requestId(sim, exchange, body)}`;
  const about = { id, type: 'message', role: 'assistant' };
  const { name: model } = chosen;
  if (body['stream'] !== true) {
    generate(sim, exchange, [prompt], sampling, {
      delta: () => undefined,
      done([generation]) {
        const [stop_reason] = stopReason(generation!.ending!);
        const content = [{ type: 'text', text: generation!.text }];
        const said = { ...about, content, model, stop_reason, usage: usage(sim, generation!) };
        exchange.sendJson(200, JSON.stringify(said));
      },
    });
    return;
  }
  const stream = (): EventStream => exchange.stream(); // opened by the first event, at the latest below
  const event = (type: string, data: Record<string, unknown>): string =>
    `event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`;
  let begun = false;
  generate(sim, exchange, [prompt], sampling, {
    delta(_index, { text }) {
      if (!begun) {
        begun = true;
        const started = { input_tokens: prompt.length, output_tokens: 0 };
        const message = { ...about, content: [], model, stop_reason: null, stop_sequence: null, usage: started };
        stream().write(event('message_start', { message }));
        stream().write(event('content_block_start', { content_block: { type: 'text', text: '' }, index: 0 }));
      }
      if (text !== '') stream().write(event('content_block_delta', { delta: { type: 'text_delta', text }, index: 0 }));
    },
    done([generation]) {
      const [stop_reason, stop_sequence] = stopReason(generation!.ending!);
      stream().write(event('content_block_stop', { index: 0 }));
      const delta = { stop_reason, stop_sequence };
      stream().write(event('message_delta', { delta, usage: usage(sim, generation!) }));
      stream().end(event('message_stop', {}));
    },
  });
  stream();
}

export async function countTokens(sim: Sim, exchange: Exchange): Promise<void> {
  const body = await bodyOf(exchange);
  chooseModel(sim, body['model']);
  const { length } = promptOf(sim, body, ['messages']);
  const counted = { input_tokens: length, context_management: { original_input_tokens: length } };
  exchange.sendJson(200, JSON.stringify(counted));
}

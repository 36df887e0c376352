import { checkedPrompt } from './chat.ts';
import { ApiError, badRequest } from './errors.ts';
import type { Generation } from './generation.ts';
import type { Exchange } from './http.ts';
import { generate, samplingOf, usageOf } from './sampling.ts';
import type { EventStream } from './stream.ts';
import { type Sim, bodyOf, chooseModel, createdS, newId } from './sim.ts';
import { type Body, checkContents, checkSampling, checkTypes } from './validate.ts';

const kinds = { temperature: 'float', top_p: 'float', max_output_tokens: 'int', stream: 'bool' } as const;

export function responseUnknown(id: string): ApiError {
  return new ApiError(404, `Response with id '${id}' not found.`, 'invalid_request_error', 'response_id');
}

/** What was asked as the messages of a chat. */
function messagesOf(body: Body): unknown[] {
  const { input, instructions } = body;
  if (input === undefined || input === null || input === '') throw badRequest('input must be provided.', 'input');
  const asked = Array.isArray(input) ? input : [{ role: 'user', content: input }];
  return typeof instructions === 'string' ? [{ role: 'system', content: instructions }, ...asked] : asked;
}

export async function responses(sim: Sim, exchange: Exchange): Promise<void> {
  const body = await bodyOf(exchange);
  checkTypes(body, kinds);
  const chosen = chooseModel(sim, body['model']);
  const maxTokens = typeof body['max_output_tokens'] === 'number' ? body['max_output_tokens'] : undefined;
  checkSampling(body, maxTokens, sim.settings.maxModelLen);
  const messages = messagesOf(body);
  checkContents(messages);
  const prompt = checkedPrompt(sim, { messages });
  const sampling = samplingOf(sim, { ...body, n: 1 }, maxTokens, chosen, { remoteTokens: undefined, hold: false });
  const facts: Facts = {
    id: `resp_${newId(sim)}`,
    messageId: `msg_${newId(sim)}`,
    createdAt: createdS(sim),
    model: chosen.name,
    body,
    maxTokens: maxTokens ?? sim.settings.maxModelLen - prompt.length,
  };
  if (body['stream'] === true) return streamed(sim, exchange, prompt, sampling, facts);
  generate(sim, exchange, [prompt], sampling, {
    delta: () => undefined,
    done: ([generation]) => exchange.sendJson(200, JSON.stringify(whole(sim, facts, generation))),
  });
}

interface Facts {
  readonly id: string;
  readonly messageId: string;
  readonly createdAt: number;
  readonly model: string;
  readonly body: Body;
  readonly maxTokens: number;
}

const part = (text: string, logprobs: unknown) => ({ annotations: [], text, type: 'output_text', logprobs });

const item = (id: string, status: string, content: unknown[]) => ({
  id,
  content,
  role: 'assistant',
  status,
  type: 'message',
  phase: null,
});

/** The response object; without a generation as it is at the start. */
function whole(sim: Sim, facts: Facts, generation: Generation | undefined): unknown {
  const { id, messageId, createdAt, model, body, maxTokens } = facts;
  const cut = generation?.ending?.reason === 'length';
  const ended = cut ? 'incomplete' : 'completed';
  return {
    id,
    created_at: createdAt,
    incomplete_details: cut ? { reason: 'max_output_tokens' } : null,
    instructions: body['instructions'] ?? null,
    metadata: body['metadata'] ?? null,
    model,
    object: 'response',
    output: generation === undefined ? [] : [item(messageId, 'completed', [part(generation.text, null)])],
    parallel_tool_calls: true,
    temperature: body['temperature'] ?? 1,
    tool_choice: 'none',
    tools: [],
    top_p: body['top_p'] ?? 1,
    background: false,
    max_output_tokens: maxTokens,
    max_tool_calls: null,
    previous_response_id: null,
    prompt: null,
    reasoning: null,
    service_tier: 'auto',
    status: generation === undefined ? 'in_progress' : ended,
    text: null,
    top_logprobs: null,
    truncation: 'disabled',
    usage: generation === undefined ? null : usage(sim, generation),
    user: body['user'] ?? null,
    presence_penalty: 0,
    frequency_penalty: 0,
    kv_transfer_params: null,
    ec_transfer_params: null,
    input_messages: null,
    output_messages: null,
  };
}

function usage(sim: Sim, generation: Generation): unknown {
  const { prompt, completion, cached } = usageOf(sim, [generation], 1);
  return {
    input_tokens: prompt,
    input_tokens_details: {
      cached_tokens: cached,
      cache_write_tokens: 0,
      input_tokens_per_turn: [],
      cached_tokens_per_turn: [],
    },
    output_tokens: completion,
    output_tokens_details: {
      reasoning_tokens: 0,
      tool_output_tokens: 0,
      output_tokens_per_turn: [],
      tool_output_tokens_per_turn: [],
    },
    total_tokens: prompt + completion,
  };
}

function streamed(
  sim: Sim,
  exchange: Exchange,
  prompt: readonly number[],
  sampling: Parameters<typeof generate>[3],
  facts: Facts,
): void {
  const { messageId } = facts;
  const stream = (): EventStream => exchange.stream(); // opened by the first event, at the latest below
  let sequence = 0;
  const event = (type: string, data: Record<string, unknown>): string =>
    `event: ${type}\ndata: ${JSON.stringify({ ...data, sequence_number: sequence++, type })}\n\n`;
  const at = { content_index: 0, item_id: messageId, output_index: 0 };
  let begun = false;
  const begin = (): void => {
    begun = true;
    const response = whole(sim, facts, undefined);
    stream().write(event('response.created', { response }));
    stream().write(event('response.in_progress', { response }));
    const added = { item: item(messageId, 'in_progress', []), output_index: 0 };
    stream().write(event('response.output_item.added', added));
    stream().write(event('response.content_part.added', { ...at, part: part('', []) }));
  };
  generate(sim, exchange, [prompt], sampling, {
    delta(_index, { text }) {
      if (!begun) begin();
      if (text !== '') stream().write(event('response.output_text.delta', { ...at, delta: text, logprobs: [] }));
    },
    done([generation]) {
      const { text } = generation!;
      stream().write(event('response.output_text.done', { ...at, logprobs: [], text }));
      stream().write(event('response.content_part.done', { ...at, part: part(text, null) }));
      const done = { item: item(messageId, 'completed', [part(text, null)]), output_index: 0 };
      stream().write(event('response.output_item.done', done));
      stream().end(event('response.completed', { response: whole(sim, facts, generation) }));
    },
  });
  stream();
}

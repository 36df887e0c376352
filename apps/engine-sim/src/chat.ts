import { badRequest } from './errors.ts';
import type { Delta, Ending, Generation } from './generation.ts';
import type { Exchange } from './http.ts';
import { handoverOf, transferParams } from './kv-transfer.ts';
import { chatLogprobs } from './logprobs.ts';
import { chatPrompt } from './prompt.ts';
import { type Usage, generate, samplingOf, usageOf } from './sampling.ts';
import type { EventStream } from './stream.ts';
import { type Sim, bodyOf, chooseModel, createdS, fingerprint, requestId } from './sim.ts';
import { type Body, checkContents, checkLength, checkSampling, checkTypes } from './validate.ts';

const kinds = {
  messages: 'list',
  temperature: 'float',
  top_p: 'float',
  n: 'int',
  max_tokens: 'int',
  max_completion_tokens: 'int',
  min_tokens: 'int',
  top_logprobs: 'int',
  seed: 'int',
  stream: 'bool',
  logprobs: 'bool',
} as const;

const asNumber = (value: unknown): number | undefined => (typeof value === 'number' ? value : undefined);

/** Checks a chat body in the real server's order and gives its prompt. */
export function checkedPrompt(sim: Sim, body: Body): number[] {
  const messages = body['messages'] as unknown[];
  if (messages.length === 0) {
    throw badRequest('Cannot apply chat template to an empty conversation. Provide at least one message.');
  }
  const goesOn = body['continue_final_message'] === true;
  if (goesOn && body['add_generation_prompt'] !== false) {
    throw badRequest('Cannot set both `continue_final_message` and `add_generation_prompt` to True.');
  }
  const tokens = chatPrompt(messages, goesOn);
  checkLength(tokens.length, sim.settings.maxModelLen);
  return tokens;
}

export async function chatCompletions(sim: Sim, exchange: Exchange): Promise<void> {
  const body = await bodyOf(exchange);
  checkTypes(body, kinds, ['messages']);
  checkContents(body['messages'] as unknown[]);
  const chosen = chooseModel(sim, body['model']);
  const maxTokens = asNumber(body['max_completion_tokens']) ?? asNumber(body['max_tokens']);
  checkSampling(body, maxTokens, sim.settings.maxModelLen);
  const prompt = checkedPrompt(sim, body);
  const handover = await handoverOf(sim, body);
  if (exchange.gone) return;
  const sampling = samplingOf(sim, body, maxTokens, chosen, handover);
  const answer: Answer = {
    id: `chatcmpl-${requestId(sim, exchange, body)}`,
    created: createdS(sim),
    model: chosen.name,
    n: sampling.n,
    hold: handover.hold,
    logprobs: body['logprobs'] === true ? (asNumber(body['top_logprobs']) ?? 0) : undefined,
    tokenIds: body['return_token_ids'] === true,
  };
  if (body['stream'] === true) return streamed(sim, exchange, body, prompt, sampling, answer);
  generate(sim, exchange, [prompt], sampling, {
    delta: () => undefined,
    done: (generations) => exchange.sendJson(200, JSON.stringify(whole(sim, exchange, answer, generations))),
  });
}

interface Answer {
  readonly id: string;
  readonly created: number;
  readonly model: string;
  readonly n: number;
  readonly hold: boolean;
  /** How many alternatives; undefined is "not asked". */
  readonly logprobs: number | undefined;
  readonly tokenIds: boolean;
}

function whole(sim: Sim, exchange: Exchange, answer: Answer, generations: readonly Generation[]): unknown {
  const { id, created, model, n, hold, logprobs, tokenIds } = answer;
  const usage = usageOf(sim, generations, n);
  return {
    id,
    object: 'chat.completion',
    created,
    model,
    choices: generations.map((generation, index) => ({
      index,
      message: {
        role: 'assistant',
        content: generation.text,
        refusal: null,
        annotations: null,
        audio: null,
        function_call: null,
        reasoning: null,
      },
      logprobs: chatLogprobs(generation.tokens, logprobs),
      finish_reason: generation.ending!.reason,
      stop_reason: generation.ending!.stopReason,
      token_ids: tokenIds ? generation.tokens : null,
      routed_experts: null,
    })),
    service_tier: null,
    system_fingerprint: fingerprint,
    usage: {
      ...totals(usage.prompt, usage.completion),
      prompt_tokens_details: {
        cached_tokens: usage.cached,
        created_cache_tokens: usage.created,
        multimodal_tokens: null,
      },
      completion_tokens_details: null,
    },
    prompt_logprobs: null,
    prompt_token_ids: tokenIds ? generations[0]!.prompt : null,
    prompt_text: null,
    kv_transfer_params: transferParams(sim, exchange, hold, generations[0]!.view, id),
    ec_transfer_params: null,
    metrics: null,
  };
}

export const totals = (prompt: number, completion: number) => ({
  prompt_tokens: prompt,
  total_tokens: prompt + completion,
  completion_tokens: completion,
});

const streamUsage = ({ prompt, completion, cached, created }: Usage): string =>
  JSON.stringify({
    ...totals(prompt, completion),
    prompt_tokens_details: { cached_tokens: cached, created_cache_tokens: created },
  });

/** Events are put together as text: this is the path that runs for each token of each stream. */
function streamed(
  sim: Sim,
  exchange: Exchange,
  body: Body,
  prompt: readonly number[],
  sampling: Parameters<typeof generate>[3],
  answer: Answer,
): void {
  const { include_usage: wantsUsage, continuous_usage_stats: wantsEach } = (body['stream_options'] ?? {}) as Body;
  const { id, created, model, n, logprobs, tokenIds } = answer;
  const head = `data: {"id":${JSON.stringify(id)},"object":"chat.completion.chunk","created":${created},"model":${JSON.stringify(model)},"choices":[`;
  const eachUsage = (completion: number): string =>
    wantsUsage === true && wantsEach === true
      ? `,"usage":${JSON.stringify({ ...totals(prompt.length, completion), completion_tokens_details: null })}`
      : '';
  const stream = (): EventStream => exchange.stream(); // opened by the first event, at the latest below
  let begun = false;
  const begin = (): void => {
    begun = true;
    const ids = tokenIds ? JSON.stringify(prompt) : 'null';
    for (let index = 0; index < n; index++) {
      stream().write(
        `${head}{"index":${index},"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]${eachUsage(0)},"prompt_token_ids":${ids},"prompt_text":null}\n\n`,
      );
    }
  };
  const event = (index: number, { text, tokens }: Delta, ending: Ending | undefined, said: number): string => {
    const lp = logprobs === undefined ? 'null' : JSON.stringify(chatLogprobs(tokens, logprobs));
    const end = ending === undefined ? 'null' : `"${ending.reason}","stop_reason":${JSON.stringify(ending.stopReason)}`;
    const mark =
      ending !== undefined && wantsUsage !== true ? `,"system_fingerprint":${JSON.stringify(fingerprint)}` : '';
    return `${head}{"index":${index},"delta":{"content":${JSON.stringify(text)}},"logprobs":${lp},"finish_reason":${end},"token_ids":${tokenIds ? JSON.stringify(tokens) : 'null'}}]${mark}${eachUsage(said)}}\n\n`;
  };
  generate(sim, exchange, [prompt], sampling, {
    delta(index, delta, ending, generation) {
      if (!begun) begin();
      stream().write(event(index, delta, ending, generation.tokens.length));
    },
    done(generations) {
      if (wantsUsage === true) {
        const usage = streamUsage(usageOf(sim, generations, n));
        stream().write(`${head}],"usage":${usage},"system_fingerprint":${JSON.stringify(fingerprint)}}\n\n`);
      }
      stream().end('data: [DONE]\n\n');
    },
  });
  stream();
}

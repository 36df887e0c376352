import { badRequest, badValue } from './errors.ts';
import type { Generation } from './generation.ts';
import type { Exchange } from './http.ts';
import { handoverOf, transferParams } from './kv-transfer.ts';
import { totals } from './chat.ts';
import { textLogprobs } from './logprobs.ts';
import { type Prompt, prompts as promptsOf } from './prompt.ts';
import { generate, samplingOf, usageOf } from './sampling.ts';
import type { EventStream } from './stream.ts';
import { type Sim, bodyOf, chooseModel, createdS, fingerprint, requestId } from './sim.ts';
import { decode } from './tokenizer.ts';
import { type Body, checkLength, checkSampling, checkTypes } from './validate.ts';

const kinds = {
  temperature: 'float',
  top_p: 'float',
  n: 'int',
  max_tokens: 'int',
  min_tokens: 'int',
  logprobs: 'int',
  seed: 'int',
  stream: 'bool',
  echo: 'bool',
} as const;

/** What the real server takes when nobody says. */
const maxTokensDefault = 16;
const logprobsMax = 20;

const asNumber = (value: unknown): number | undefined => (typeof value === 'number' ? value : undefined);

interface Answer {
  readonly id: string;
  readonly created: number;
  readonly model: string;
  readonly n: number;
  readonly hold: boolean;
  readonly echo: boolean;
  readonly logprobs: number | undefined;
  readonly tokenIds: boolean;
  readonly prompts: readonly Prompt[];
}

export async function completions(sim: Sim, exchange: Exchange): Promise<void> {
  const body = await bodyOf(exchange);
  checkTypes(body, kinds);
  const chosen = chooseModel(sim, body['model']);
  const maxTokens = asNumber(body['max_tokens']) ?? maxTokensDefault;
  checkSampling(body, maxTokens, sim.settings.maxModelLen);
  const prompts = promptsOf(body['prompt']);
  if (prompts.length === 0 || prompts.some(({ tokens }) => tokens.length === 0)) {
    throw badValue('Either prompt or prompt_embeds must be provided and non-empty.', 'prompt');
  }
  const logprobs = asNumber(body['logprobs']);
  if (logprobs !== undefined && logprobs > logprobsMax) {
    const message = `Requested sample logprobs of ${logprobs}, which is greater than max allowed: ${logprobsMax}`;
    throw badRequest(`${message} (parameter=logprobs, value=${logprobs})`, 'logprobs');
  }
  for (const { tokens } of prompts) checkLength(tokens.length, sim.settings.maxModelLen);
  const handover = await handoverOf(sim, body);
  if (exchange.gone) return;
  const sampling = samplingOf(sim, body, maxTokens, chosen, handover);
  const answer: Answer = {
    id: `cmpl-${requestId(sim, exchange, body)}`,
    created: createdS(sim),
    model: chosen.name,
    n: sampling.n,
    hold: handover.hold,
    echo: body['echo'] === true,
    logprobs,
    tokenIds: body['return_token_ids'] === true,
    prompts,
  };
  const tokens = prompts.map((prompt) => prompt.tokens);
  if (body['stream'] === true) return streamed(sim, exchange, body, tokens, sampling, answer);
  generate(sim, exchange, tokens, sampling, {
    delta: () => undefined,
    done: (generations) => exchange.sendJson(200, JSON.stringify(whole(sim, exchange, answer, generations))),
  });
}

function echoOf({ echo, prompts, n }: Answer, index: number): string {
  if (!echo) return '';
  const prompt = prompts[Math.floor(index / n)]!;
  return prompt.text ?? decode(prompt.tokens);
}

function whole(sim: Sim, exchange: Exchange, answer: Answer, generations: readonly Generation[]): unknown {
  const { id, created, model, n, hold, logprobs, tokenIds } = answer;
  const usage = usageOf(sim, generations, n);
  return {
    id,
    object: 'text_completion',
    created,
    model,
    choices: generations.map((generation, index) => {
      const echo = echoOf(answer, index);
      return {
        index,
        text: echo + generation.text,
        logprobs: textLogprobs(generation.tokens, logprobs, echo.length),
        finish_reason: generation.ending!.reason,
        stop_reason: generation.ending!.stopReason,
        token_ids: tokenIds ? generation.tokens : null,
        prompt_logprobs: null,
        prompt_token_ids: tokenIds ? generation.prompt : null,
        routed_experts: null,
      };
    }),
    service_tier: null,
    system_fingerprint: fingerprint,
    usage: {
      ...totals(usage.prompt, usage.completion),
      prompt_tokens_details: { cached_tokens: usage.cached, created_cache_tokens: null, multimodal_tokens: null },
      completion_tokens_details: null,
    },
    kv_transfer_params: transferParams(sim, exchange, hold, generations[0]!.view, id),
    ec_transfer_params: null,
    metrics: null,
  };
}

function streamed(
  sim: Sim,
  exchange: Exchange,
  body: Body,
  prompts: readonly (readonly number[])[],
  sampling: Parameters<typeof generate>[3],
  answer: Answer,
): void {
  const { include_usage: wantsUsage, continuous_usage_stats: wantsEach } = (body['stream_options'] ?? {}) as Body;
  const { id, created, model, n, logprobs, tokenIds } = answer;
  const head = `data: {"id":${JSON.stringify(id)},"object":"text_completion","created":${created},"model":${JSON.stringify(model)},"choices":[`;
  const begun = new Set<number>();
  const offsets = new Map<number, number>();
  const stream = (): EventStream => exchange.stream(); // opened by the first event, at the latest below
  generate(sim, exchange, prompts, sampling, {
    delta(index, { text, tokens }, ending, generation) {
      const first = !begun.has(index);
      begun.add(index);
      const shown = first ? echoOf(answer, index) + text : text;
      const offset = offsets.get(index) ?? 0;
      if (logprobs !== undefined) offsets.set(index, offset + shown.length);
      const lp = logprobs === undefined ? 'null' : JSON.stringify(textLogprobs(tokens, logprobs, offset));
      const end = ending === undefined ? 'null' : `"${ending.reason}"`;
      const promptIds = tokenIds && first ? JSON.stringify(generation.prompt) : 'null';
      const ids = tokenIds ? JSON.stringify(tokens) : 'null';
      const mark =
        ending !== undefined && wantsUsage !== true ? `,"system_fingerprint":${JSON.stringify(fingerprint)}` : '';
      const usage =
        wantsUsage === true && wantsEach === true
          ? `,"usage":${JSON.stringify(totals(generation.prompt.length, generation.tokens.length))}`
          : '';
      stream().write(
        `${head}{"index":${index},"text":${JSON.stringify(shown)},"logprobs":${lp},"finish_reason":${end},"stop_reason":${JSON.stringify(ending?.stopReason ?? null)},"prompt_token_ids":${promptIds},"token_ids":${ids}}]${mark}${usage}}\n\n`,
      );
    },
    done(generations) {
      if (wantsUsage === true) {
        const usage = usageOf(sim, generations, n);
        const shown = {
          ...totals(usage.prompt, usage.completion),
          prompt_tokens_details: { cached_tokens: usage.cached },
        };
        stream().write(
          `${head}],"usage":${JSON.stringify(shown)},"system_fingerprint":${JSON.stringify(fingerprint)}}\n\n`,
        );
      }
      stream().end('data: [DONE]\n\n');
    },
  });
  stream();
}

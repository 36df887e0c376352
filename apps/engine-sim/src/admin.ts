import { invalid, badRequest } from './errors.ts';
import type { Exchange } from './http.ts';
import { releaseHeld } from './kv-transfer.ts';
import { checkedPrompt } from './chat.ts';
import { prompts } from './prompt.ts';
import { type Sim, bodyOf, chooseModel, createdS, newId } from './sim.ts';
import { decode, pieceOf } from './tokenizer.ts';
import { checkContents, checkTypes } from './validate.ts';

type Handler = (sim: Sim, exchange: Exchange) => void | Promise<void>;

const answer = (exchange: Exchange, value: unknown): void => exchange.sendJson(200, JSON.stringify(value));

export const models: Handler = (sim, exchange) => {
  const created = createdS(sim);
  const card = (id: string, root: string, parent: string | null, maxModelLen: number | null) => ({
    id,
    object: 'model',
    created,
    owned_by: 'vllm',
    root,
    parent,
    max_model_len: maxModelLen,
    permission: [
      {
        id: `modelperm-${newId(sim)}`,
        object: 'model_permission',
        created,
        allow_create_engine: false,
        allow_sampling: true,
        allow_logprobs: true,
        allow_search_indices: false,
        allow_view: true,
        allow_fine_tuning: false,
        organization: '*',
        group: null,
        is_blocking: false,
      },
    ],
  });
  const { models: names, maxModelLen } = sim.settings;
  const root = `/models/${names[0]}`;
  answer(exchange, {
    object: 'list',
    data: [
      ...names.map((name) => card(name, root, null, maxModelLen)),
      ...sim.adapters.list().map(({ name, path }) => card(name, path, names[0]!, null)),
    ],
  });
};

export const tokenize: Handler = async (sim, exchange) => {
  const body = await bodyOf(exchange);
  chooseModel(sim, body['model']);
  checkTypes(body, { prompt: 'string', messages: 'list' }, body['messages'] === undefined ? ['prompt'] : []);
  if (Array.isArray(body['messages'])) checkContents(body['messages']);
  const tokens = Array.isArray(body['messages'])
    ? checkedPrompt(sim, body)
    : (prompts(body['prompt'])[0]?.tokens ?? []);
  answer(exchange, {
    count: tokens.length,
    max_model_len: sim.settings.maxModelLen,
    tokens,
    token_strs: body['return_token_strs'] === true ? tokens.map(pieceOf) : null,
  });
};

export const detokenize: Handler = async (sim, exchange) => {
  const body = await bodyOf(exchange);
  chooseModel(sim, body['model']);
  checkTypes(body, { tokens: 'list' }, ['tokens']);
  answer(exchange, { prompt: decode(body['tokens'] as number[]) });
};

export const loadAdapter: Handler = async (sim, exchange) => {
  const body = await bodyOf(exchange);
  checkTypes(body, { lora_name: 'string', lora_path: 'string', load_inplace: 'bool' }, ['lora_name', 'lora_path']);
  const name = String(body['lora_name']);
  const inPlace = body['load_inplace'] === true;
  const said = sim.adapters.load(name, String(body['lora_path']), inPlace);
  if (inPlace) for (const { model } of sim.ranks) model.unloadAdapter(name);
  exchange.sendText(200, said);
};

export const unloadAdapter: Handler = async (sim, exchange) => {
  const body = await bodyOf(exchange);
  checkTypes(body, { lora_name: 'string' }, ['lora_name']);
  const said = sim.adapters.unload(String(body['lora_name']));
  for (const { model } of sim.ranks) model.unloadAdapter(String(body['lora_name'])); // stays in its slot while sequences use it
  exchange.sendText(200, said);
};

const pauseModes = ['abort', 'wait', 'keep'] as const;

export const sleep: Handler = ({ ranks }, exchange) => {
  const level = Number(exchange.query.get('level') ?? '1');
  if (level !== 1 && level !== 2) {
    const msg = level < 1 ? 'Input should be greater than or equal to 0' : 'Input should be less than or equal to 2';
    throw invalid([{ type: 'less_than_equal', loc: 'query.level', msg, input: String(level) }]);
  }
  for (const engine of ranks) {
    const began = engine.nowMs();
    engine.sleep(level);
    engine.metrics.slept('sleep', (engine.nowMs() - began) / 1000);
  }
  answer(exchange, { status: 'sleeping', level });
};

export const wake: Handler = async ({ ranks }, exchange) => {
  const tags = exchange.query.getAll('tags');
  await Promise.all(
    ranks.map(async (engine) => {
      const began = engine.nowMs();
      await engine.wake();
      engine.metrics.slept('wake', (engine.nowMs() - began) / 1000);
    }),
  );
  answer(exchange, { status: 'awake', tags: tags.length === 0 ? null : tags });
};

export const isSleeping: Handler = ({ engine }, exchange) => {
  answer(exchange, { is_sleeping: engine.model.sleepLevel > 0 });
};

export const pause: Handler = async ({ ranks }, exchange) => {
  const asked = exchange.query.get('mode') ?? 'abort';
  const mode = pauseModes.find((known) => known === asked);
  if (mode === undefined) throw badRequest(`mode must be one of ${pauseModes.join(', ')}.`, 'mode');
  await Promise.all(ranks.map(async (engine) => await engine.pause(mode)));
  answer(exchange, { status: 'paused' });
};

export const resume: Handler = ({ ranks }, exchange) => {
  for (const engine of ranks) engine.resume();
  answer(exchange, { status: 'resumed' });
};

export const isPaused: Handler = ({ engine }, exchange) => answer(exchange, { is_paused: engine.model.paused });

export const resetPrefixCache: Handler = ({ ranks }, exchange) => {
  const done = ranks.map((engine) => {
    engine.pump();
    return engine.model.resetPrefixCache();
  });
  answer(exchange, { success: done.every(Boolean) });
};

export const release: Handler = async (sim, exchange) => {
  releaseHeld(sim, await bodyOf(exchange));
  answer(exchange, { released: true });
};

export const kvEventSources: Handler = ({ kv, settings }, exchange) => {
  if (kv === undefined) return answer(exchange, {});
  const endpoint = (port: number): string => `tcp://${settings.host}:${port}`;
  answer(exchange, {
    0: {
      enable_kv_cache_events: true,
      publisher: 'zmq',
      endpoint: endpoint(kv.port),
      replay_endpoint: endpoint(kv.replayPort),
      buffer_steps: 10_000,
      hwm: 100_000,
      max_queue_size: 100_000,
      topic: kv.topic,
    },
  });
};

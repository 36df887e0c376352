import { route } from '#libs/contracts';
import { parseJson, parseModels } from './models.ts';

/** What came back from one path: `status` 0 where nothing did. */
export interface ProbeAnswer {
  readonly status: number;
  readonly text: string;
}

export type Detection =
  /** Ask this next. */
  | { readonly ask: string }
  | { readonly kind: route.EngineKind }
  /** Nothing that Lintel knows answers there. */
  | { readonly problem: string };

const { VLLM, SGLANG, LLAMA_CPP, TENSORRT_LLM, OPENAI } = route.EngineKind;

const byOwner: Readonly<Record<string, route.EngineKind>> = {
  vllm: VLLM,
  sglang: SGLANG,
  llamacpp: LLAMA_CPP,
  'llama.cpp': LLAMA_CPP,
  tensorrt_llm: TENSORRT_LLM,
  'tensorrt-llm': TENSORRT_LLM,
};

const modelsPath = '/v1/models';

/** In the order of asking; the first that recognises its engine decides. A model's owner may be anything, so these come after it. */
const signs: readonly { readonly path: string; kindOf(text: string): route.EngineKind | undefined }[] = [
  {
    path: '/props',
    kindOf: (text) => (has(text, 'default_generation_settings', 'build_info') ? LLAMA_CPP : undefined),
  },
  {
    path: '/get_server_info',
    kindOf: (text) => (has(text, 'internal_states', 'mem_fraction_static') ? SGLANG : undefined),
  },
  { path: '/metrics', kindOf: (text) => families.find(([prefix]) => text.includes(prefix))?.[1] },
  { path: '/prometheus/metrics', kindOf: (text) => (text.includes('# TYPE trtllm_') ? TENSORRT_LLM : undefined) },
  // vLLM alone answers this with nothing but a version; TensorRT-LLM was recognised before.
  { path: '/version', kindOf: (text) => (has(text, 'version') ? VLLM : undefined) },
];

const families: readonly (readonly [string, route.EngineKind])[] = [
  ['# TYPE vllm:', VLLM],
  ['# TYPE sglang:', SGLANG],
  ['# TYPE llamacpp:', LLAMA_CPP],
];

function has(text: string, ...names: string[]): boolean {
  const json = parseJson(text);
  if ('problem' in json || typeof json.value !== 'object' || json.value === null) return false;
  const { value } = json;
  return names.some((name) => name in value);
}

/**
 * Which engine answers, from what its paths answered so far; or which path to ask next. Pure: ask until it says a kind or a problem.
 * At most six paths are asked.
 */
export function detectEngine(answers: ReadonlyMap<string, ProbeAnswer>): Detection {
  const models = answers.get(modelsPath);
  if (models === undefined) return { ask: modelsPath };
  const list = models.status === 200 ? parseModels(models.text) : { problem: statusText(models.status) };
  if ('models' in list) {
    const owner = byOwner[list.ownedBy.toLowerCase()];
    if (owner !== undefined) return { kind: owner };
  } else if (models.status === 0) {
    return { problem: 'nothing answers' };
  }
  for (const { path, kindOf } of signs) {
    const answer = answers.get(path);
    if (answer === undefined) return { ask: path };
    const kind = answer.status === 200 ? kindOf(answer.text) : undefined;
    if (kind !== undefined) return { kind };
  }
  if ('models' in list) return { kind: OPENAI };
  // A guarded /v1/models and nothing else: an OpenAI-compatible server that wants a key.
  if (models.status === 401 || models.status === 403) return { kind: OPENAI };
  return { problem: `GET ${modelsPath}: ${list.problem}` };
}

const statusText = (status: number): string => `answered ${status}`;

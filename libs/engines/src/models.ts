import { errorText } from '#libs/kernel';
import { engineLimits } from './limits.ts';

export interface EngineModel {
  readonly id: string;
  /** Base model of an adapter. */
  readonly parent: string | undefined;
  /** Undefined where the engine does not say. */
  readonly maxModelLen: number | undefined;
}

export interface ModelList {
  readonly models: readonly EngineModel[];
  /** `owned_by` of the first model, which names the engine; empty where it is not said. */
  readonly ownedBy: string;
}

/** What a parser says of text that it cannot use. It never throws. */
export interface Unusable {
  readonly problem: string;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Text without control characters, as a model name must be to stand in headers and logs. */
// oxlint-disable-next-line no-control-regex -- they are what is looked for
const control = /[\u0000-\u001f\u007f]/;

/** JSON or the reason why it is none. */
export function parseJson(text: string): { readonly value: unknown } | Unusable {
  try {
    return { value: JSON.parse(text) };
  } catch (thrown) {
    return { problem: `no JSON: ${errorText(thrown).slice(0, 200)}` };
  }
}

/** The answer of GET /v1/models: base models and adapters. An entry that is no model makes the whole unusable. */
export function parseModels(text: string): ModelList | Unusable {
  if (text.length > engineLimits.modelsBytesMax) return { problem: `${text.length} characters of models` };
  const json = parseJson(text);
  if ('problem' in json) return json;
  const data = isObject(json.value) ? json.value['data'] : undefined;
  if (!Array.isArray(data)) return { problem: 'no list "data"' };
  if (data.length > engineLimits.modelsMax) return { problem: `${data.length} models` };
  const models: EngineModel[] = [];
  let ownedBy = '';
  for (const [index, entry] of data.entries()) {
    const id: unknown = isObject(entry) ? entry['id'] : undefined;
    if (typeof id !== 'string' || id === '') return { problem: `data[${index}] has no id` };
    if (id.length > engineLimits.modelNameLengthMax || control.test(id)) {
      return { problem: `data[${index}].id is not a model name` };
    }
    const { parent, max_model_len: length, owned_by: owner } = entry as Record<string, unknown>;
    if (index === 0 && typeof owner === 'string') ownedBy = owner.slice(0, 64);
    models.push({
      id,
      parent: typeof parent === 'string' && parent !== '' ? parent : undefined,
      maxModelLen: typeof length === 'number' && Number.isSafeInteger(length) && length > 0 ? length : undefined,
    });
  }
  return { models, ownedBy };
}

/** The answer of vLLM's GET /is_sleeping. */
export function parseSleeping(text: string): { readonly sleeping: boolean } | Unusable {
  const json = parseJson(text);
  if ('problem' in json) return json;
  const sleeping = isObject(json.value) ? json.value['is_sleeping'] : undefined;
  return typeof sleeping === 'boolean' ? { sleeping } : { problem: 'no boolean "is_sleeping"' };
}

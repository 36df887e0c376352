import type { BodyFields } from './body-fields.ts';
import { fieldsOf, rawOf } from './body-fields.ts';
import { ownFields, requestFields } from './connectors.ts';

/** Endpoints whose engines hand KV over. */
const paths = new Set(['/v1/chat/completions', '/v1/completions']);

/** A body that may be handed over; why not, where it may not be; or what the client must not say itself. */
export type Splittable = { readonly fields: BodyFields } | { readonly why: string } | { readonly own: string };

const isOne = (raw: Buffer | undefined): boolean => raw === undefined || /^1(?:\.0+)?$/.test(raw.toString('latin1'));
const isOff = (raw: Buffer | undefined): boolean => raw === undefined || raw.toString('latin1') === 'false';

/** One prompt: a text, or the ids of its tokens. */
function isSingle(prompt: Buffer | undefined): boolean {
  if (prompt === undefined || prompt[0] === 0x22) return true;
  return prompt[0] === 0x5b && /^\[\s*\d/.test(prompt.subarray(0, 64).toString('latin1'));
}

/** Whether this request can be computed in two places. */
export function splittable(path: string, body: Buffer): Splittable {
  if (!paths.has(path)) return { why: 'endpoint' };
  const fields = fieldsOf(body, requestFields);
  if (fields === undefined) return { why: 'body' };
  const own = ownFields.find((name) => rawOf(fields, name) !== undefined);
  if (own !== undefined) return { own };
  const read = (name: string): Buffer | undefined => rawOf(fields, name);
  if (!isOne(read('n')) || !isOne(read('best_of')) || !isOff(read('use_beam_search'))) return { why: 'choices' };
  if (!isSingle(read('prompt'))) return { why: 'prompts' };
  // What is said of the prompt itself only the side that computes it could say.
  if (!isOff(read('echo')) || read('prompt_logprobs') !== undefined) return { why: 'prompt-echo' };
  return { fields };
}

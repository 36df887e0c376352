import { totals } from './chat.ts';
import { ApiError, invalid, pythonInput } from './errors.ts';
import type { Exchange } from './http.ts';
import { prompts as promptsOf } from './prompt.ts';
import { generate } from './sampling.ts';
import { type Sim, bodyOf, createdS, newId } from './sim.ts';
import { tokensHash } from './tokenizer.ts';
import { checkLength } from './validate.ts';
import { mix32 } from '#libs/kernel';

export const dimensions = 256;

/** The forms of an embedding request that the real server tries in turn, by the member that each lacks first. */
const formsLack = ['input', 'messages', 'messages', 'messages', 'input', 'messages', 'input'];

/** A unit vector that depends on the tokens alone. */
export function embed(tokens: readonly number[]): Float32Array {
  const seed = tokensHash(tokens, dimensions);
  const vector = new Float32Array(dimensions);
  let squares = 0;
  for (let at = 0; at < dimensions; at++) {
    const value = mix32(seed + at) / 2 ** 31 - 1;
    vector[at] = value;
    squares += value * value;
  }
  const length = Math.sqrt(squares);
  return vector.map((value) => value / length);
}

export async function embeddings(sim: Sim, exchange: Exchange): Promise<void> {
  const body = await bodyOf(exchange);
  if (body['input'] === undefined) {
    const input = pythonInput(body);
    throw invalid(formsLack.map((name) => ({ type: 'missing', loc: `body.${name}`, msg: 'Field required', input })));
  }
  const model = String(body['model'] ?? sim.settings.models[0]);
  if (!sim.settings.models.includes(model)) {
    throw new ApiError(404, `The model \`${model}\` does not exist.`, 'NotFoundError');
  }
  const inputs = promptsOf(body['input']).map(({ tokens }) => tokens);
  if (inputs.length === 0) throw new ApiError(400, 'input cannot be empty', 'BadRequestError', 'input');
  for (const tokens of inputs) checkLength(tokens.length, sim.settings.maxModelLen);
  const base64 = body['encoding_format'] === 'base64';
  const request = {
    maxTokens: 1,
    stop: [],
    ignoreEos: true,
    minTokens: 0,
    adapter: undefined,
    cacheSalt: undefined,
    choices: undefined,
    remoteTokens: undefined,
    holdBlocks: false,
  };
  generate(
    sim,
    exchange,
    inputs,
    { n: 1, seed: 0, request },
    {
      delta: () => undefined,
      done() {
        const promptTokens = inputs.reduce((sum, tokens) => sum + tokens.length, 0);
        const answer = {
          id: `embd-${newId(sim)}`,
          object: 'list',
          created: createdS(sim),
          model,
          data: inputs.map((tokens, index) => {
            const vector = embed(tokens);
            const embedding = base64 ? Buffer.from(vector.buffer).toString('base64') : [...vector];
            return { index, object: 'embedding', embedding };
          }),
          usage: { ...totals(promptTokens, 0), prompt_tokens_details: null, completion_tokens_details: null },
        };
        exchange.sendJson(200, JSON.stringify(answer));
      },
    },
  );
}

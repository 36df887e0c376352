import { Counter, Gauge, type Registry } from '#libs/observability';
import type { ModelTokens } from './model-tokens.ts';

/** Whose tokens are known, and what became of those that were asked for. */
export function exposeTokens(tokens: ModelTokens, registry: Registry): void {
  const asked: Counter = new Counter({
    name: 'lintel_gateway_tokens_requests_total',
    help: 'Requests whose tokens were asked for, by model and what came of it: known, or why not; failed on the thread',
    labelNames: ['model', 'result'],
    registers: [registry],
    collect: () => {
      asked.reset();
      for (const [model, counts] of tokens.counts) {
        for (const [result, count] of counts) asked.inc({ model, result }, count);
      }
    },
  });
  const perModel = (
    name: string,
    help: string,
    valueOf: (model: ModelTokens['models'][number]) => number | undefined,
  ): void => {
    const made: Gauge = new Gauge({
      name: `lintel_gateway_tokenizer_${name}`,
      help,
      labelNames: ['model'],
      registers: [registry],
      collect: () => {
        made.reset();
        for (const model of tokens.models) {
          const value = valueOf(model);
          if (value !== undefined) made.set({ model: model.name }, value);
        }
      },
    });
  };
  perModel('usable', '1 where the tokenizer of the model is read and agrees with the engine', (model) =>
    model.tokenizer !== undefined && !model.differs ? 1 : 0,
  );
  perModel('cached_chars', 'Characters of prompts whose tokens are kept', ({ tokenizer }) => tokenizer?.cache.chars);
}

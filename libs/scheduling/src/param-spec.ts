import { closest, CodedError } from '#libs/kernel';
import type { Params } from './contract.ts';

interface NumberSpec {
  readonly default: number;
  readonly min: number;
  readonly max: number;
  readonly integer?: true;
}

interface FlagSpec {
  readonly default: boolean;
}

export type ParamSpecs = Readonly<Record<string, NumberSpec | FlagSpec>>;

const invalid = (type: string, problem: string, advice: string): CodedError =>
  new CodedError('SCHEDULING_PARAM_INVALID', `${type}: ${problem}`, { advice });

function problemOf(spec: NumberSpec | FlagSpec, value: unknown): string | undefined {
  if (!('min' in spec)) return typeof value === 'boolean' ? undefined : 'true or false';
  const fits = typeof value === 'number' && value >= spec.min && value <= spec.max;
  if (fits && (spec.integer === undefined || Number.isInteger(value))) return undefined;
  return `${spec.integer === undefined ? 'a number' : 'an integer'} from ${spec.min} to ${spec.max}`;
}

/** A plugin's `params`: checks every given value against its spec and fills in the defaults, in the order of the specs. */
export function paramsOf(type: string, specs: ParamSpecs): (given: Readonly<Record<string, unknown>>) => Params {
  return (given) => {
    for (const name of Object.keys(given)) {
      if (Object.hasOwn(specs, name)) continue;
      const meant = closest(name, Object.keys(specs));
      const known = Object.keys(specs).join(', ') || 'none';
      throw invalid(
        type,
        `unknown parameter ${JSON.stringify(name.slice(0, 64))}`,
        meant ? `Did you mean ${meant}?` : `Parameters: ${known}.`,
      );
    }
    const params: Record<string, number | boolean> = {};
    for (const [name, spec] of Object.entries(specs)) {
      const value = Object.hasOwn(given, name) ? given[name] : spec.default;
      const wanted = problemOf(spec, value);
      if (wanted !== undefined) throw invalid(type, `${name} is not right`, `Give ${wanted}.`);
      params[name] = value as number | boolean;
    }
    return params;
  };
}

import type { Rng } from '#libs/kernel';
import { badRequest } from './errors.ts';

/** What goes wrong with one exchange. Counts are events of a stream, or bytes of another body. */
export interface Fault {
  readonly delayMs?: number;
  /** Never answers. */
  readonly hang?: boolean;
  /** Connection reset before the first byte. */
  readonly reset?: boolean;
  /** Reset after so much. */
  readonly resetAfter?: number;
  /** Closed in order after so much, the body unfinished. */
  readonly cutAfter?: number;
  readonly status?: number;
  /** This much later for each event of a stream; another body comes in two halves. */
  readonly slowMs?: number;
  readonly badJson?: boolean;
  /** Random bytes as the body. */
  readonly garbage?: boolean;
  readonly endlessHeaders?: boolean;
  readonly endlessBody?: boolean;
  /** The engine dies. */
  readonly crash?: boolean;
}

export const noFault: Fault = {};

const counted: Readonly<Record<string, keyof Fault>> = {
  delay: 'delayMs',
  'reset-after': 'resetAfter',
  'cut-after': 'cutAfter',
  status: 'status',
  slow: 'slowMs',
};
const plain: Readonly<Record<string, keyof Fault>> = {
  hang: 'hang',
  reset: 'reset',
  'bad-json': 'badJson',
  garbage: 'garbage',
  'endless-headers': 'endlessHeaders',
  'endless-body': 'endlessBody',
  crash: 'crash',
};
export const faultNames = [...Object.keys(counted).map((name) => `${name}=N`), ...Object.keys(plain)];

const statusMin = 400;
const statusMax = 599;

/** `delay=500,slow=20`: faults joined by commas. */
export function parseFault(text: string): Fault {
  const fault: Record<string, number | boolean> = {};
  for (const part of text.split(',')) {
    const [name = '', value] = part.trim().split('=');
    const number = Number(value);
    const isCounted = Object.hasOwn(counted, name);
    const good = isCounted
      ? value !== undefined && value !== '' && Number.isInteger(number) && number >= 0
      : Object.hasOwn(plain, name) && value === undefined;
    if (!good) throw badRequest(`Unknown fault "${part.trim()}"; known: ${faultNames.join(', ')}.`, 'fault');
    if (name === 'status' && (number < statusMin || number > statusMax)) {
      throw badRequest(`status=${number} is not an error: give ${statusMin} to ${statusMax}.`, 'fault');
    }
    if (isCounted) fault[counted[name]!] = number;
    else fault[plain[name]!] = true;
  }
  return fault as Fault;
}

export interface FaultRule {
  readonly fault: string;
  /** Start of the paths that it befalls; default all but `/sim/`. */
  readonly path?: string | undefined;
  /** How often, then it is over; default for ever. */
  readonly times?: number | undefined;
  /** Of each exchange; default 1. */
  readonly probability?: number | undefined;
}

interface Armed {
  readonly rule: FaultRule;
  readonly fault: Fault;
  hits: number;
}

const rulesMax = 64;

/** The rules in force, set by `POST /sim/faults`. The first that matches wins; a header of the request wins over all. */
export class Faults {
  #rules: Armed[] = [];
  readonly #rng: Rng;

  constructor(rng: Rng, rules: readonly FaultRule[]) {
    this.#rng = rng;
    for (const rule of rules) this.add(rule);
  }

  add(rule: FaultRule): void {
    const { times, probability } = rule;
    if (this.#rules.length >= rulesMax) throw badRequest(`At most ${rulesMax} fault rules; DELETE /sim/faults first.`);
    if (typeof rule.fault !== 'string') throw badRequest('Give {"fault": "…"}.', 'fault');
    if (times !== undefined && !(Number.isInteger(times) && times > 0)) throw badRequest('times must be ≥ 1.', 'times');
    if (probability !== undefined && !(probability > 0 && probability <= 1)) {
      throw badRequest('probability must be in (0, 1].', 'probability');
    }
    this.#rules.push({ rule, fault: parseFault(rule.fault), hits: 0 });
  }

  clear(): void {
    this.#rules = [];
  }

  list(): (FaultRule & { hits: number })[] {
    return this.#rules.map(({ rule, hits }) => ({ ...rule, hits }));
  }

  /** What befalls this exchange. */
  take(path: string, header: string | undefined): Fault {
    if (header !== undefined) return parseFault(header);
    if (this.#rules.length === 0 || path.startsWith('/sim/')) return noFault;
    for (const armed of this.#rules) {
      const { path: prefix = '/', times = Infinity, probability = 1 } = armed.rule;
      if (!path.startsWith(prefix) || armed.hits >= times) continue;
      if (probability < 1 && this.#rng.next() >= probability) continue;
      armed.hits++;
      return armed.fault;
    }
    return noFault;
  }
}

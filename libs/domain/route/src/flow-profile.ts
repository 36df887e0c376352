import { closest, CodedError } from '#libs/kernel';

/** How requests of a profile wait where every replica is full: `flowControl` of its routingConfig. */
export interface FlowProfile {
  /** Requests that a replica runs at once, where it has no label `slots`; 0 is unknown. */
  readonly slots: number;
  /** Longest wait for a replica with room. */
  readonly waitMsMax: number;
  /** Longest wait where replicas are known and none is ready: more than a start takes. 0 refuses at once. */
  readonly wakeMsMax: number;
  /** From a request's arrival until its first token is of no use, where the client does not say; 0 is never. */
  readonly deadlineMs: number;
  /** Band of a request that asks for none; higher goes first. */
  readonly priority: number;
  /** Highest band that a client may ask for by x-lintel-priority; that of the profile where it is not said. */
  readonly priorityMax: number;
  /** By tenant; 1 where it is not named. */
  readonly weights: Readonly<Record<string, number>>;
}

const priorityBound = 8;
const numbers = {
  slots: { start: 0, least: 0, most: 1_000_000 },
  waitMsMax: { start: 30_000, least: 0, most: 3_600_000 },
  wakeMsMax: { start: 0, least: 0, most: 3_600_000 },
  deadlineMs: { start: 0, least: 0, most: 86_400_000 },
  priority: { start: 0, least: -priorityBound, most: priorityBound },
  priorityMax: { start: 0, least: -priorityBound, most: priorityBound },
} as const;
type NumberName = keyof typeof numbers;

const invalid = (problem: string, advice?: string): CodedError =>
  new CodedError('ROUTE_POLICY_INVALID', `flowControl: ${problem}`, advice === undefined ? {} : { advice });

/** Strict: an unknown name or a value out of range is refused. @throws ROUTE_POLICY_INVALID */
export function parseFlowProfile(given: Readonly<Record<string, unknown>>): FlowProfile {
  const read = Object.fromEntries(Object.entries(numbers).map(([name, { start }]) => [name, start])) as Record<
    NumberName,
    number
  >;
  let weights: Record<string, number> = {};
  for (const [name, value] of Object.entries(given)) {
    if (name === 'weights') weights = parseWeights(value);
    else if (Object.hasOwn(numbers, name)) {
      const { least, most } = numbers[name as NumberName];
      if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most)
        throw invalid(`${name} is no whole number from ${least} to ${most}`);
      read[name as NumberName] = value;
    } else {
      const meant = closest(name, [...Object.keys(numbers), 'weights']);
      throw invalid(
        `there is no ${JSON.stringify(name.slice(0, 64))}`,
        meant === undefined ? `There are: ${Object.keys(numbers).join(', ')}, weights.` : `Did you mean ${meant}?`,
      );
    }
  }
  if (given['priorityMax'] === undefined) read.priorityMax = read.priority;
  return { ...read, weights };
}

function parseWeights(value: unknown): Record<string, number> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid('weights is no object of tenants');
  const weights: Record<string, number> = {};
  for (const [tenant, weight] of Object.entries(value)) {
    if (typeof weight !== 'number' || !(weight >= 0.001) || weight > 1_000_000)
      throw invalid(`the weight of ${JSON.stringify(tenant.slice(0, 64))} is no number from 0.001 to 1000000`);
    Object.defineProperty(weights, tenant, { value: weight, enumerable: true });
  }
  return weights;
}

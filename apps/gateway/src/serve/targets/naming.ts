import type { FleetReplica } from '../../fleet/fleet.ts';
import type { Splice } from '../body/usage-option.ts';

/** Where a body names its model, and how it is to be named to whoever gets it. */
export interface Naming {
  /** The bytes of the name: in JSON with its quotes. Empty where the body names none. */
  start: number;
  end: number;
  /** Where a name may be put in, where there is none; -1 nowhere. */
  objectStart: number;
  readonly form: boolean;
  /** As the client wrote it. */
  readonly asked: string;
  /** What is served in its place; another one after a fallback. */
  model: string;
}

/** The name that this replica knows the model by; '' where the body says that already. */
export function nameAt({ provider }: FleetReplica, { model, asked }: Naming): string {
  const name = provider?.names.get(model) ?? model;
  return name === asked ? '' : name;
}

/** The one change that makes a body say this name; undefined where there is no place for it. */
export function nameSplice({ start, end, objectStart, form }: Naming, name: string): Splice | undefined {
  const text = form ? name : JSON.stringify(name);
  if (end > start) return { start, end, text };
  return form || objectStart < 0
    ? undefined
    : { start: objectStart + 1, end: objectStart + 1, text: `"model":${text},` };
}

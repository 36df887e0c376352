import { CodedError } from '#libs/kernel';
import type { Filter, Picker, Plugin, PluginUse, Scorer } from './contract.ts';
import { filters, pickers, scorers } from './plugins/index.ts';

const all: readonly Plugin[] = [...filters, ...scorers, ...pickers];

/** What this build can execute, for `lintel replay` and for people. */
export function pluginVersions(): { kind: Plugin['kind']; type: string; version: number }[] {
  return all.map(({ kind, type, version }) => ({ kind, type, version }));
}

export const pluginTypes: readonly string[] = all.map(({ type }) => type);

/** The newest plugin of this type, or undefined. Types are unique over the kinds. */
export function findPlugin(type: string): Plugin | undefined {
  return all.find((plugin) => plugin.type === type);
}

/** A plugin version that a pipeline names and this build does not have. */
export class PluginMissing extends CodedError {
  constructor(readonly plugin: string) {
    super('SCHEDULING_PLUGIN_MISSING', `this build has no scheduling plugin ${plugin}`, {
      advice: 'The decision was made by another version of Lintel: re-execute it with that version.',
    });
  }
}

function required<T extends Plugin>(plugins: readonly T[], kind: string, use: PluginUse): T {
  const found = plugins.find(({ type, version }) => type === use.type && version === use.version);
  if (found === undefined) throw new PluginMissing(`${kind} ${use.type}@${use.version}`);
  return found;
}

/** @throws SCHEDULING_PLUGIN_MISSING */
export const requireFilter = (use: PluginUse): Filter => required(filters, 'filter', use);
export const requireScorer = (use: PluginUse): Scorer => required(scorers, 'scorer', use);
export const requirePicker = (use: PluginUse): Picker => required(pickers, 'picker', use);

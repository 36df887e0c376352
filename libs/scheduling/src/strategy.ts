import { closest, CodedError } from '#libs/kernel';
import type { PipelineSpec, PluginUse } from './contract.ts';
import type { Preset, PresetUse } from './presets.ts';
import { presets, strategyNames } from './presets.ts';
import { findPlugin, pluginTypes } from './registry.ts';

export const strategyLimits = { textLengthMax: 256, membersMax: 8, weightMax: 1_000_000 } as const;

/** Parameters by plugin type: `{ "load-band": { "factor": 2 } }`. */
export type PluginParams = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

interface Member {
  readonly name: string;
  readonly weight: number;
}

const shown = (text: string): string => JSON.stringify(text.length > 64 ? `${text.slice(0, 64)}…` : text);

function unknown(name: string): CodedError {
  const meant = closest(name, strategyNames);
  return new CodedError('SCHEDULING_STRATEGY_UNKNOWN', `there is no strategy ${shown(name)}`, {
    advice: meant === undefined ? `Strategies: ${strategyNames.join(', ')}.` : `Did you mean ${meant}?`,
  });
}

const invalid = (problem: string, advice: string): CodedError =>
  new CodedError('SCHEDULING_STRATEGY_INVALID', problem, { advice });

function parseMember(text: string): Member {
  const colon = text.indexOf(':');
  const name = (colon < 0 ? text : text.slice(0, colon)).trim();
  if (!Object.hasOwn(presets, name)) throw unknown(name);
  if (colon < 0) return { name, weight: 1 };
  const weightText = text.slice(colon + 1).trim();
  const weight = /^[0-9]{1,7}$/.test(weightText) ? Number(weightText) : Number.NaN;
  if (!(weight <= strategyLimits.weightMax)) {
    throw invalid(
      `the weight of ${name} is ${shown(weightText)}`,
      `Give an integer from 0 to ${strategyLimits.weightMax}.`,
    );
  }
  return { name, weight };
}

/** The members of `a:2,b` with their weights; those of weight 0 are dropped. @throws SCHEDULING_STRATEGY_UNKNOWN, …_INVALID */
export function parseStrategy(text: string): readonly Member[] {
  if (text.length > strategyLimits.textLengthMax) {
    throw invalid(`a strategy of ${text.length} characters`, `At most ${strategyLimits.textLengthMax}.`);
  }
  const parts = text.split(',');
  if (parts.length > strategyLimits.membersMax) {
    throw invalid(`a mix of ${parts.length} strategies`, `At most ${strategyLimits.membersMax}.`);
  }
  const members = parts.map(parseMember);
  for (const [index, { name }] of members.entries()) {
    if (members.findIndex((other) => other.name === name) !== index) {
      throw invalid(`${name} stands twice in ${shown(text)}`, 'Name each strategy once and add the weights up.');
    }
  }
  const weighing = members.filter(({ weight }) => weight > 0);
  if (weighing.length === 0)
    throw invalid(`every weight in ${shown(text)} is 0`, 'Give one strategy a weight above 0.');
  return weighing;
}

const presetOf = (name: string): Preset => presets[name] as Preset;

function checkParams(params: PluginParams): void {
  for (const [type, given] of Object.entries(params)) {
    const plugin = findPlugin(type);
    if (plugin === undefined) {
      const meant = closest(type, pluginTypes);
      throw new CodedError('SCHEDULING_PARAM_INVALID', `parameters for ${shown(type)}, which is no plugin`, {
        advice: meant === undefined ? `Plugins: ${pluginTypes.join(', ')}.` : `Did you mean ${meant}?`,
      });
    }
    if (typeof given !== 'object' || given === null || Array.isArray(given)) {
      throw new CodedError('SCHEDULING_PARAM_INVALID', `the parameters of ${type} are not an object`);
    }
    plugin.params(given);
  }
}

/**
 * The pipeline of a preset or of a mix. `params` go over the preset's own; a plugin that the strategy does not use is allowed
 * there, since a client's header may choose another strategy under the same profile.
 * @throws SCHEDULING_STRATEGY_UNKNOWN · SCHEDULING_STRATEGY_INVALID (text) · SCHEDULING_STRATEGY_EXCLUSIVE (refuses to mix) ·
 * SCHEDULING_PARAM_INVALID
 */
export function resolveStrategy(text: string, params: PluginParams = {}): PipelineSpec {
  const members = parseStrategy(text);
  checkParams(params);
  const used = (use: PresetUse): PluginUse => {
    const plugin = findPlugin(use.type) as NonNullable<ReturnType<typeof findPlugin>>;
    const given = Object.hasOwn(params, use.type) ? params[use.type] : {};
    return { type: use.type, version: plugin.version, params: plugin.params({ ...use.params, ...given }) };
  };
  if (members.length === 1) {
    const [{ name }] = members as [Member];
    const preset = presetOf(name);
    return {
      strategy: name,
      filters: preset.filters.map(used),
      scorers: preset.scorers.map((use) => ({ ...used(use), weight: 1 })),
      picker: used(preset.picker),
    };
  }
  const scorers = members.map(({ name, weight }) => {
    const { inMix } = presetOf(name);
    if (inMix !== undefined) return { ...used(inMix), weight };
    throw new CodedError('SCHEDULING_STRATEGY_EXCLUSIVE', `${name} cannot be part of a mix`, {
      advice: `Use it alone, or mix ${strategyNames.filter((other) => presetOf(other).inMix).join(', ')}.`,
    });
  });
  const strategy = members.map(({ name, weight }) => `${name}:${weight}`).join(',');
  return { strategy, filters: [], scorers, picker: used({ type: 'best' }) };
}

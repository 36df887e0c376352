/** A plugin by type, with the parameters that differ from its defaults. */
export interface PresetUse {
  readonly type: string;
  readonly params?: Readonly<Record<string, number | boolean>>;
}

export interface Preset {
  readonly filters: readonly PresetUse[];
  readonly scorers: readonly PresetUse[];
  readonly picker: PresetUse;
  /** The one scorer that stands for the preset in a mix; without it the preset refuses to mix. */
  readonly inMix?: PresetUse;
}

const load: PresetUse = { type: 'load' };
const kvUse: PresetUse = { type: 'kv-use' };
const best: PresetUse = { type: 'best' };
const band: PresetUse = { type: 'load-band' };
const leastKv: Preset = { filters: [], scorers: [kvUse], picker: best, inMix: kvUse };

/** Strategies by name: arrangements of the plugins, with the behaviour that AIBrix's names promise. */
export const presets: Readonly<Record<string, Preset>> = {
  random: { filters: [], scorers: [], picker: { type: 'random' }, inMix: { type: 'noise' } },
  'round-robin': { filters: [], scorers: [], picker: { type: 'rotation' } },
  'least-request': { filters: [], scorers: [load], picker: best, inMix: load },
  'power-of-two': { filters: [], scorers: [load], picker: { type: 'two-choices' } },
  'least-kv-cache': leastKv,
  'least-gpu-cache': leastKv,
  'session-affinity': {
    filters: [
      { type: 'load-imbalance', params: { inflightGapMax: 64 } },
      { type: 'load-band', params: { factor: 2 } },
    ],
    scorers: [{ type: 'session' }],
    picker: best,
    inMix: { type: 'session', params: { relative: true } },
  },
  'prefix-cache': {
    filters: [{ type: 'load-imbalance' }, band],
    scorers: [{ type: 'prefix-hit' }],
    picker: best,
    inMix: { type: 'prefix-hit', params: { relative: true } },
  },
};

export const strategyNames: readonly string[] = Object.keys(presets);

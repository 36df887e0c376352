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
const latency: PresetUse = { type: 'latency' };
const preble: PresetUse = { type: 'preble' };
const rate: PresetUse = { type: 'token-rate' };
const finish: PresetUse = { type: 'predicted-finish' };
const target: PresetUse = { type: 'slo-target' };
const tokenLoad: PresetUse = { type: 'token-load' };
const busy: PresetUse = { type: 'busy-share' };
const tenant: PresetUse = { type: 'tenant-place' };
// A share of time says nothing of how much: the band keeps an idle replica from being sent everything at once.
const leastBusy: Preset = { filters: [band], scorers: [busy], picker: best, inMix: busy };
const pulling: Preset = { filters: [target, { type: 'room' }], scorers: [tokenLoad], picker: best };
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
  // A replica that is stuck has a low rate too.
  throughput: { filters: [band], scorers: [rate], picker: best, inMix: rate },
  'least-latency': { filters: [], scorers: [latency], picker: best, inMix: latency },
  'least-busy-time': leastBusy,
  'least-utilization': leastBusy,
  'vtc-basic': { filters: [], scorers: [tenant, load], picker: best, inMix: tenant },
  slo: pulling,
  'slo-pack-load': { filters: [target], scorers: [{ type: 'slo-pack' }], picker: best },
  'slo-least-load': { filters: [target], scorers: [tokenLoad], picker: best },
  'slo-least-load-pulling': pulling,
  'prefix-cache-preble': { filters: [{ type: 'load-imbalance' }], scorers: [preble], picker: best, inMix: preble },
  lintel: { filters: [], scorers: [finish], picker: best, inMix: finish },
  // A pair is chosen as a whole: mixed with scores of single replicas it would be none.
  pd: {
    filters: [{ type: 'prompt-bucket' }, { type: 'role' }],
    scorers: [{ type: 'pair-finish' }],
    picker: best,
  },
};

export const strategyNames: readonly string[] = Object.keys(presets);

import { engineLimits } from './limits.ts';
import type { Unusable } from './models.ts';
import type { EngineProfile } from './profiles.ts';
import { labelOf, samplesOf } from './prometheus.ts';

/** Adapters in use, from the newest label set; an engine keeps the old ones on its page. */
export interface AdapterUse {
  readonly slotsMax: number | undefined;
  readonly running: readonly string[];
  readonly waiting: readonly string[];
}

/** Load of a whole replica: summed over its data-parallel engines. Undefined is unknown. */
export interface EngineLoad {
  readonly waiting: number | undefined;
  readonly running: number | undefined;
  /** Mean over the engines, 0 to 1. */
  readonly kvUse: number | undefined;
  /** Of the fullest engine. */
  readonly kvUseMax: number | undefined;
  readonly adapters: AdapterUse | undefined;
}

/** Reads the page of an engine's metrics. A page without a single wanted family is unusable; a missing one is unknown. `rank`: of this data-parallel engine alone. */
export function readLoad(profile: EngineProfile, text: string, rank?: number): EngineLoad | Unusable {
  if (text.length > engineLimits.metricsBytesMax) return { problem: `${text.length} characters of metrics` };
  const { families } = profile;
  const waiting = sum(valuesOf(text, families.waiting, rank));
  const running = sum(valuesOf(text, families.running, rank));
  const kvUses = valuesOf(text, families.kvUse, rank).map((share) => Math.min(share, 1));
  const adapters = families.lora === undefined ? undefined : readAdapters(text, families.lora);
  if (waiting === undefined && running === undefined && kvUses.length === 0) {
    const wanted = [...families.running, ...families.waiting, ...families.kvUse];
    return { problem: `none of ${wanted.join(', ')} on the page` };
  }
  const kvSum = sum(kvUses);
  return {
    waiting,
    running,
    kvUse: kvSum === undefined ? undefined : kvSum / kvUses.length,
    kvUseMax: kvSum === undefined ? undefined : Math.max(...kvUses),
    adapters,
  };
}

/** Of the first name that is there. A negative count is no count. */
function valuesOf(text: string, names: readonly string[], rank: number | undefined): number[] {
  for (const name of names) {
    const values = samplesOf(text, name).flatMap(({ value, labels }) =>
      value >= 0 && (rank === undefined || labelOf(labels, 'engine') === String(rank)) ? value : [],
    );
    if (values.length > 0) return values;
  }
  return [];
}

const sum = (values: readonly number[]): number | undefined =>
  values.length === 0 ? undefined : values.reduce((total, value) => total + value, 0);

function readAdapters(text: string, family: string): AdapterUse | undefined {
  let newest: { value: number; labels: string } | undefined;
  for (const sample of samplesOf(text, family)) {
    if (newest === undefined || sample.value > newest.value) newest = sample;
  }
  if (newest === undefined) return undefined;
  const slots = Number(labelOf(newest.labels, 'max_lora') ?? Number.NaN);
  const list = (name: string): string[] =>
    (labelOf(newest.labels, name) ?? '')
      .split(',', engineLimits.adaptersListedMax)
      .map((adapter) => adapter.trim())
      .filter((adapter) => adapter !== '');
  return {
    slotsMax: Number.isSafeInteger(slots) && slots >= 0 ? slots : undefined,
    running: list('running_lora_adapters'),
    waiting: list('waiting_lora_adapters'),
  };
}

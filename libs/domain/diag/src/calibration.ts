import type { route } from '#libs/contracts';
import type { CalibrationItem } from './answers.ts';

/** Models that are told apart; of the rest nothing is said but their number. */
const modelsMax = 256;
/** Answers whose error is kept for the quantiles of one model and kind. */
const offsMax = 200_000;

const deciles = 10;

class Kept {
  readonly counts = new Float64Array(deciles);
  readonly predictedMs = new Float64Array(deciles);
  readonly measuredMs = new Float64Array(deciles);
  readonly offs: number[] = [];
  answers = 0;

  add({ predictedMs, measuredMs, decile }: route.Forecast): void {
    if (!(predictedMs > 0 && measuredMs > 0)) return;
    this.answers++;
    if (this.offs.length < offsMax) this.offs.push(Math.abs(measuredMs / predictedMs - 1));
    if (decile < 1 || decile > deciles) return;
    const at = decile - 1;
    this.counts[at] = (this.counts[at] as number) + 1;
    this.predictedMs[at] = (this.predictedMs[at] as number) + predictedMs;
    this.measuredMs[at] = (this.measuredMs[at] as number) + measuredMs;
  }
}

/** Predictions of requests against what came of them, over records: a fold. */
export class Calibration {
  readonly #models = new Map<string, { readonly ttft: Kept; readonly finish: Kept }>();
  /** Records of models past the bound. */
  unnamed = 0;

  add({ model, ttft, finish }: route.DecisionRecord): void {
    if (ttft === undefined && finish === undefined) return;
    let kept = this.#models.get(model);
    if (kept === undefined) {
      if (this.#models.size >= modelsMax) {
        this.unnamed++;
        return;
      }
      this.#models.set(model, (kept = { ttft: new Kept(), finish: new Kept() }));
    }
    if (ttft !== undefined) kept.ttft.add(ttft);
    if (finish !== undefined) kept.finish.add(finish);
  }

  /** By model, those with answers. */
  items(): CalibrationItem[] {
    const models = [...this.#models].sort(([a], [b]) => (a < b ? -1 : 1));
    return models.flatMap(([model, { ttft, finish }]) =>
      (
        [
          ['ttft', ttft],
          ['finish', finish],
        ] as const
      ).flatMap(([kind, kept]) => (kept.answers === 0 ? [] : [itemOf(model, kind, kept)])),
    );
  }
}

function itemOf(model: string, kind: CalibrationItem['kind'], kept: Kept): CalibrationItem {
  const total = kept.counts.reduce((sum, count) => sum + count, 0);
  const shareOf = (count: number): number => (total === 0 ? 0 : count / total);
  const rows = Array.from(kept.counts, (count, at) => ({
    decile: at + 1,
    answers: count,
    share: shareOf(count),
    error: total === 0 ? 0 : shareOf(count) - 1 / deciles,
    predictedMs: count === 0 ? null : (kept.predictedMs[at] as number) / count,
    measuredMs: count === 0 ? null : (kept.measuredMs[at] as number) / count,
  }));
  const offs = Float64Array.from(kept.offs).sort();
  const quantile = (share: number): number | null => offs[Math.ceil(share * offs.length) - 1] ?? null;
  return {
    model,
    kind,
    answers: kept.answers,
    deciles: rows,
    errorMax: rows.reduce((most, { error }) => Math.max(most, Math.abs(error)), 0),
    within: rows.slice(1, -1).reduce((sum, { share }) => sum + share, 0),
    offP50: quantile(0.5),
    offP90: quantile(0.9),
  };
}

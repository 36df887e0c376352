import { create, toBinary } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';

/** Gives each index that is used a place in a smaller list, in the order of first use. */
class Remap<T> {
  readonly kept: T[] = [];
  readonly #places = new Map<number, number>();

  constructor(readonly all: readonly T[]) {}

  place(index: number): number {
    let place = this.#places.get(index);
    if (place !== undefined) return place;
    place = this.kept.length;
    this.#places.set(index, place);
    // An index beyond the dictionary stays beyond it, so that the reader finds the record broken and not wrong.
    if (index < this.all.length) this.kept.push(this.all[index] as T);
    return index < this.all.length ? place : 0xffff_ffff;
  }
}

/** The bytes of a RecordFrame with this one record and only the dictionary entries that it names. */
export function singleRecordFrame(frame: route.RecordFrame, record: route.DecisionRecord): Uint8Array {
  const replicas = new Remap(frame.replicaIds);
  const pipelines = new Remap(frame.pipelines);
  const own: route.DecisionRecord = {
    ...record,
    picks: record.picks.map((pick) => ({
      ...pick,
      pipeline: pipelines.place(pick.pipeline),
      candidates: pick.candidates.map((index) => replicas.place(index)),
    })),
    attempts: record.attempts.map((attempt) => ({ ...attempt, replica: replicas.place(attempt.replica) })),
  };
  const { gatewayId, bootId, frameSeq, closedAtMs } = frame;
  const single = create(route.RecordFrameSchema, { gatewayId, bootId, frameSeq, closedAtMs });
  single.records = [own];
  single.replicaIds = replicas.kept;
  single.pipelines = pipelines.kept;
  return toBinary(route.RecordFrameSchema, single);
}

import type { ServedModel } from './fleet.ts';
import type { LiveReplica } from './replica.ts';

/** Which replicas serve which model: made anew when a replica comes, goes, or tells other models. */
export class ModelIndex {
  readonly models: readonly ServedModel[];
  readonly #byName = new Map<string, { model: ServedModel; replicas: LiveReplica[] }>();

  /** `replicas` in their stable order. */
  constructor(replicas: Iterable<LiveReplica>) {
    for (const replica of replicas) {
      for (const { id, parent, maxModelLen } of replica.models() ?? []) {
        const known = this.#byName.get(id);
        if (known === undefined) this.#byName.set(id, { model: { id, parent, maxModelLen }, replicas: [replica] });
        // A list that names a model twice names one replica twice.
        else if (known.replicas.at(-1) !== replica) {
          known.replicas.push(replica);
          known.model = {
            id,
            parent: known.model.parent ?? parent,
            maxModelLen: shortest(known.model.maxModelLen, maxModelLen),
          };
        }
      }
    }
    this.models = [...this.#byName.values()].map(({ model }) => model).sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  model(id: string): ServedModel | undefined {
    return this.#byName.get(id)?.model;
  }

  replicasFor(model: string): readonly LiveReplica[] | undefined {
    return this.#byName.get(model)?.replicas;
  }
}

/** What fits every replica. */
const shortest = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined ? b : b === undefined ? a : Math.min(a, b);

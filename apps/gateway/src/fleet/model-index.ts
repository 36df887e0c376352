import type { ServedModel } from './fleet.ts';
import type { LiveReplica } from './replica.ts';

/** Which replicas serve which model: made anew when a replica comes, goes, or tells other models. */
export class ModelIndex {
  readonly models: readonly ServedModel[];
  /** Some provider calls a model by another name. */
  readonly renames: boolean;
  readonly #spares = new Map<string, { overflow: LiveReplica[]; fallback: LiveReplica[] }>();
  readonly #byName = new Map<string, { model: ServedModel; replicas: LiveReplica[] }>();

  /** `replicas` in their stable order. */
  constructor(replicas: Iterable<LiveReplica>) {
    let renames = false;
    for (const replica of replicas) {
      for (const [here, there] of replica.provider?.names ?? []) renames ||= here !== there;
      if (replica.use !== 'replica') {
        this.#addSpare(replica);
        continue;
      }
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
    this.renames = renames;
    this.models = [...this.#byName.values()].map(({ model }) => model).sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  sparesFor(model: string): { readonly overflow: LiveReplica[]; readonly fallback: LiveReplica[] } | undefined {
    return this.#spares.size === 0 ? undefined : this.#spares.get(model);
  }

  #addSpare(replica: LiveReplica): void {
    for (const { id } of replica.models() ?? []) {
      const spares = this.#spares.get(id) ?? { overflow: [], fallback: [] };
      this.#spares.set(id, spares);
      spares[replica.use === 'overflow' ? 'overflow' : 'fallback'].push(replica);
      // A model that nobody else serves is one all the same.
      if (!this.#byName.has(id))
        this.#byName.set(id, { model: { id, parent: undefined, maxModelLen: undefined }, replicas: [] });
    }
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

import { modelRouteFor } from '#libs/domain/route';
import type { ServedModel } from '../../fleet/fleet.ts';
import type { Plane } from '../plane.ts';

/** A name that leads elsewhere, as the list of models tells it: `root` is what is served in its place. */
export interface ListedModel extends ServedModel {
  readonly root: string | undefined;
}

/** Names that lead elsewhere for this tenant, as far as something is served there. */
export function listedNames({ state, fleet }: Plane, tenantId: string): ListedModel[] {
  const { route } = state();
  const found: ListedModel[] = [];
  for (const name of route.routesByName.keys()) {
    const listed = fleet.model(name) === undefined ? listedName({ state, fleet } as Plane, name, tenantId) : undefined;
    if (listed !== undefined) found.push(listed);
  }
  return found;
}

/** The name as clients of this tenant see it; undefined where it leads nowhere. */
export function listedName({ state, fleet }: Plane, name: string, tenantId: string): ListedModel | undefined {
  const inForce = modelRouteFor(state().route, name, tenantId);
  if (inForce === undefined) return undefined;
  for (const { model } of [...inForce.route.shares, ...inForce.route.fallbacks]) {
    const served = fleet.model(model || name);
    if (served !== undefined) return { id: name, parent: undefined, root: served.id, maxModelLen: served.maxModelLen };
  }
  return undefined;
}

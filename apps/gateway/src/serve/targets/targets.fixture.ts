import { create } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import { checkModelRoute } from '#libs/domain/route';
import type { FleetReplica, SpareReplicas } from '../../fleet/fleet.ts';
import type { DataPlaneOptions } from '../data-plane.ts';
import type { FakeReplica, TestGateway } from '../serve.fixture.ts';
import { engine, FakeFleet, gateway } from '../serve.fixture.ts';

/** An engine that says which it is, in the answer and by what it was asked. */
export interface NamedEngine {
  readonly origin: string;
  readonly bodies: string[];
  readonly paths: string[];
  readonly headers: Record<string, string | string[] | undefined>[];
  status: number;
}

export async function namedEngine(name: string): Promise<NamedEngine> {
  const made: { origin: string } & Omit<NamedEngine, 'origin'> = {
    origin: '',
    bodies: [],
    paths: [],
    headers: [],
    status: 200,
  };
  made.origin = await engine((body, response, request) => {
    made.bodies.push(body);
    made.paths.push(request.url ?? '');
    made.headers.push(request.headers);
    response.writeHead(made.status, { 'content-type': 'application/json', 'set-cookie': 'a=b' });
    response.end(JSON.stringify({ id: `resp_${name}`, model: `served-by-${name}`, usage: { prompt_tokens: 3 } }));
  });
  return made;
}

/** A fleet where each model has replicas of its own. */
class PooledFleet extends FakeFleet {
  readonly pools = new Map<string, FakeReplica[]>();
  readonly spares = new Map<string, SpareReplicas>();
  renames = false;

  override replicasFor(model: string): readonly FleetReplica[] | undefined {
    return this.pools.get(model);
  }

  sparesFor(model: string): SpareReplicas | undefined {
    return this.spares.get(model);
  }
}

export interface RoutedGateway extends Omit<TestGateway, 'fleet'> {
  readonly fleet: PooledFleet;
  replica(id: string): FakeReplica;
  /** Sets a model route, held to its rules. */
  lead(given: object): void;
}

/** A gateway over these models, each with its engines: the first of "main" is replica main-1. */
export async function routedGateway(
  models: Readonly<Record<string, readonly NamedEngine[]>>,
  options: Partial<DataPlaneOptions> = {},
): Promise<RoutedGateway> {
  const origins = Object.values(models).flatMap((engines) => engines.map(({ origin }) => origin));
  const plain = await gateway([], options);
  const { FakeReplica: Replica } = await import('../serve.fixture.ts');
  const fleet = plain.fleet as PooledFleet;
  Object.setPrototypeOf(fleet, PooledFleet.prototype);
  Object.assign(fleet, { pools: new Map(), spares: new Map(), renames: false });
  const byId = new Map<string, FakeReplica>();
  fleet.served.length = 0;
  for (const [model, engines] of Object.entries(models)) {
    fleet.served.push({ id: model, parent: undefined, maxModelLen: 4096 });
    const replicas = engines.map(({ origin }, index) => new Replica(`${model}-${index + 1}`, origin));
    for (const replica of replicas) byId.set(replica.id, replica);
    fleet.pools.set(model, replicas);
  }
  if (byId.size !== origins.length) throw new Error('two replicas of one name');
  return {
    ...plain,
    fleet,
    replica: (id) => byId.get(id) as FakeReplica,
    lead: (given) => {
      const wanted = create(route.ModelRouteSchema, { routeId: 'r', by: 'session', ...given });
      checkModelRoute(wanted);
      const inForce = { route: wanted, source: 'test', version: 3, seq: 41 };
      for (const name of wanted.models) {
        const before = plain.state.route.routesByName.get(name) ?? [];
        plain.state.route.routesByName.set(name, [...before, inForce]);
      }
    },
  };
}

/** The one record as a frame that can be decided again. */
export { frameOf } from './frame.fixture.ts';

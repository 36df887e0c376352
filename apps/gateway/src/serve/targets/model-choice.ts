import type { IncomingHttpHeaders } from 'node:http';
import { create } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import type { ModelRouteInForce, Spares, Stage, StageSeen } from '#libs/domain/route';
import {
  choiceHash,
  chooseShare,
  modelRouteFor,
  modelRouteText,
  pickStage,
  resolveProfile,
  selectPolicy,
  stagesOf,
} from '#libs/domain/route';
import type { RequestFeatures } from '#libs/scheduling';
import type { FleetReplica } from '../../fleet/fleet.ts';
import { single } from '../headers.ts';
import type { Plane } from '../plane.ts';
import { overBounds, seenOf, withoutRoom } from './standing.ts';

const { StageCause, StageTier } = route;

/** Who asks for which name. */
export interface NameAsked {
  readonly asked: string;
  readonly tenantId: string;
  readonly keyId: string;
  readonly requestId: string;
  /** '' where none is named. */
  readonly endUser: string;
  readonly headers: IncomingHttpHeaders;
  /** The model that holds what the request goes on from; '' where nothing is known of that. */
  readonly heldBy: string;
}

interface Look {
  readonly stage: number;
  readonly cause: route.StageCause;
  readonly seen: StageSeen;
  readonly atMs: number;
  taken: boolean;
  pick: number;
  features: RequestFeatures | undefined;
}

const noTokens = { promptTokens: 0, maxTokens: 0 };
const none: readonly FleetReplica[] = [];

/** Texts of routes for records: the same object as long as its version is in force. */
const routeTexts = new WeakMap<ModelRouteInForce, string>();

function textOf(inForce: ModelRouteInForce): string {
  let text = routeTexts.get(inForce);
  if (text === undefined) routeTexts.set(inForce, (text = modelRouteText(inForce.route)));
  return text;
}

/** Which share a request's own words ask for: that of its header, or that of the model which holds what it goes on from. */
function forcedShare({ shares }: route.ModelRoute, { headers, heldBy }: NameAsked): { share: number; held: boolean } {
  if (heldBy !== '') {
    const share = shares.findIndex(({ model }) => model === heldBy);
    if (share >= 0) return { share, held: true };
  }
  const share = shares.findIndex(({ headerName, headerValue }) => {
    const said = headerName === '' ? undefined : single(headers[headerName]);
    return said !== undefined && (headerValue === '' || said === headerValue);
  });
  return { share, held: false };
}

/** What keeps a conversation on one side, and what it is. */
function hashedText(by: string, { headers, keyId, endUser, requestId }: NameAsked): readonly [string, string] {
  if (by === 'session') {
    const session = single(headers['x-session-id']) ?? single(headers['x-aibrix-session-key']) ?? '';
    if (session !== '') return ['session', session];
    if (endUser !== '') return ['end user', endUser];
  }
  if (by === 'key' && keyId !== '') return ['key', keyId];
  return ['request', requestId];
}

/** Where one request's name leads: the stages it may go through, and which it went through for what reason. */
export class ModelChoice {
  readonly asked: string;
  readonly stages: readonly Stage[];
  readonly #plane: Plane;
  readonly #inForce: ModelRouteInForce | undefined;
  readonly #hash: number = 0;
  readonly #hashed: string = '';
  readonly #share: number = -1;
  readonly #reason: route.ShareReason = route.ShareReason.UNSPECIFIED;
  /** Whether fullness can lead anywhere else. */
  readonly #minds: boolean;
  readonly #looks: Look[] = [];
  #at = -1;

  constructor(plane: Plane, request: NameAsked, inForce: ModelRouteInForce | undefined) {
    this.#plane = plane;
    this.#inForce = inForce;
    this.asked = request.asked;
    if (inForce !== undefined) {
      const [hashed, text] = hashedText(inForce.route.by, request);
      this.#hashed = hashed;
      this.#hash = choiceHash(inForce.route.routeId, text);
      const forced = forcedShare(inForce.route, request);
      const { share, reason } = chooseShare(inForce.route, this.#hash, forced.share, forced.held);
      this.#share = share;
      this.#reason = reason;
    }
    this.stages = stagesOf(this.asked, inForce?.route, this.#share, (model) => sparesOf(plane, model));
    this.#minds = this.stages.some(({ saturated }, index) => index > 0 && saturated);
  }

  get stage(): Stage {
    return this.stages[Math.max(0, this.#at)] as Stage;
  }

  get routeId(): string {
    return this.#inForce?.route.routeId ?? '';
  }

  /** Why this stage was taken; undefined of the first one. */
  get took(): route.StageCause | undefined {
    return this.#at > 0 ? this.#looks.findLast(({ taken }) => taken)?.cause : undefined;
  }

  /** Something may still come after this stage. */
  get more(): boolean {
    return this.#at >= 0 && this.#at + 1 < this.stages.length;
  }

  /** Replicas of the stage to begin with, or to go on with after its tries ended so; undefined where there is none. */
  next(
    cause: route.StageCause,
    tried: readonly FleetReplica[],
    picks: number,
    atMs: number,
  ): readonly FleetReplica[] | undefined {
    const from = this.#looks.length;
    const index = pickStage(this.stages, this.#at, cause, (stage, why) => {
      const seen = this.#see(this.stages[stage] as Stage, tried);
      this.#looks.push({ stage, cause: why, seen, atMs, taken: false, pick: picks, features: undefined });
      return seen;
    });
    if (index < 0) return undefined;
    const look = this.#looks.find((one, at) => at >= from && one.stage === index) as Look;
    look.taken = true;
    this.#at = index;
    return this.#replicasOf(this.stages[index] as Stage);
  }

  /** All that could take it, for words on why none does. */
  known(): readonly FleetReplica[] {
    return this.#replicasOf(this.stages[0] as Stage);
  }

  /** All that any stage has. */
  reach(): readonly FleetReplica[] {
    return this.stages.flatMap((stage) => this.#replicasOf(stage));
  }

  /** What the picks of this stage read, where the record says something else. */
  reads(features: RequestFeatures): void {
    const look = this.#looks.findLast(({ taken }) => taken);
    if (look !== undefined) look.features = features;
  }

  toRecord(): route.ModelChoice {
    const inForce = this.#inForce;
    return create(route.ModelChoiceSchema, {
      asked: this.asked,
      routeId: inForce?.route.routeId ?? '',
      routeVersion: inForce?.version ?? 0,
      routeSeq: inForce?.seq ?? 0,
      routeJson: inForce === undefined ? '' : textOf(inForce),
      hash: this.#hash,
      hashed: this.#hashed,
      share: this.#share + 1,
      shareReason: this.#reason,
      stages: this.stages.map((stage) => ({ ...stage })),
      looks: this.#looks.map(({ seen, features, ...look }) => ({
        ...look,
        ...seen,
        ...(features === undefined ? {} : { features: { ...features } }),
      })),
    });
  }

  #see(stage: Stage, tried: readonly FleetReplica[]): StageSeen {
    return seenOf(this.#replicasOf(stage), tried, this.#minds ? this.#fullness(stage) : undefined);
  }

  #fullness({ model }: Stage): (replica: FleetReplica) => boolean {
    const bounds = this.#inForce?.route.saturated;
    if (bounds !== undefined) return (replica) => overBounds(replica, bounds);
    const slots = resolveProfile(selectPolicy(this.#plane.state().route, model), {}, noTokens).flow?.slots ?? 0;
    return (replica) => withoutRoom(replica, slots);
  }

  #replicasOf({ model, replicas, tier }: Stage): readonly FleetReplica[] {
    const { fleet, selectors } = this.#plane;
    const spares = tier === StageTier.OWN ? undefined : fleet.sparesFor?.(model);
    const all =
      (tier === StageTier.OWN
        ? fleet.replicasFor(model)
        : tier === StageTier.OVERFLOW
          ? spares?.overflow
          : spares?.fallback) ?? none;
    const selector = replicas === '' ? undefined : selectors.of(replicas);
    return selector === undefined ? all : all.filter(({ labels }) => selector(labels));
  }
}

function sparesOf({ fleet }: Plane, model: string): Spares | undefined {
  const spares = fleet.sparesFor?.(model);
  return spares && { overflow: spares.overflow.length > 0, fallback: spares.fallback.length > 0 };
}

/** Undefined where the name leads to the model of that name and to nothing else: most do, and cost a look-up. */
export function choiceOf(plane: Plane, request: NameAsked): ModelChoice | undefined {
  const inForce = modelRouteFor(plane.state().route, request.asked, request.tenantId);
  if (inForce === undefined && plane.fleet.sparesFor?.(request.asked) === undefined) return undefined;
  return new ModelChoice(plane, request, inForce);
}

/** What befell the tries of a stage. */
export const causeOfEnd = (end: route.AttemptEnd | undefined): route.StageCause =>
  end === undefined ? StageCause.GONE : end === route.AttemptEnd.OVERLOADED ? StageCause.OVERLOADED : StageCause.FAILED;

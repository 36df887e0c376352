import type { DynamicModule } from '@nestjs/common';
import { Module } from '@nestjs/common';
import type { Environment } from '#libs/kernel';
import type { HealthBoard, Registry } from '#libs/observability';
import { Commands } from './control/commands.ts';
import type { GatewayFolds } from './control/folds.ts';
import { AdminKeys } from './control/admin-keys.ts';
import { AibrixUsersController } from './control/aibrix-users.controller.ts';
import { PeopleController } from './control/people.controller.ts';
import { RouteController } from './control/route.controller.ts';
import { StatusController } from './control/status.controller.ts';
import { TenancyController } from './control/tenancy.controller.ts';
import { environmentToken, fleetToken, foldsToken, healthToken, metricsToken } from './control/tokens.ts';
import type { LiveFleet } from './fleet/live-fleet.ts';

export interface GatewayParts {
  readonly commands: Commands;
  readonly folds: GatewayFolds;
  readonly fleet: LiveFleet;
  readonly environment: Environment;
  readonly health: HealthBoard;
  readonly metrics: Pick<Registry, 'contentType' | 'metrics'>;
  /** Undefined where AIBrix's user API is not served. */
  readonly adminKeys?: AdminKeys | undefined;
}

/** What the gateway answers beside its data plane: commands and queries of its contexts, and its own status. */
@Module({})
// oxlint-disable-next-line typescript/no-extraneous-class -- a Nest module is its decorator
export class GatewayModule {
  static of({ commands, folds, fleet, environment, health, metrics, adminKeys }: GatewayParts): DynamicModule {
    return {
      module: GatewayModule,
      controllers: [
        StatusController,
        RouteController,
        TenancyController,
        PeopleController,
        ...(adminKeys === undefined ? [] : [AibrixUsersController]),
      ],
      providers: [
        { provide: Commands, useValue: commands },
        ...(adminKeys === undefined ? [] : [{ provide: AdminKeys, useValue: adminKeys }]),
        { provide: foldsToken, useValue: folds },
        { provide: fleetToken, useValue: fleet },
        { provide: environmentToken, useValue: environment },
        { provide: healthToken, useValue: health },
        { provide: metricsToken, useValue: metrics },
      ],
    };
  }
}

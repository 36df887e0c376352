import type { HealthBoard } from '#libs/observability';
import type { DynamicModule } from '@nestjs/common';
import { Module } from '@nestjs/common';
import type { Core } from './core.ts';
import { CommandsController } from './http/commands.controller.ts';
import { ExplainController } from './http/explain.controller.ts';
import { KvController } from './http/kv.controller.ts';
import { HealthController } from './http/health.controller.ts';
import { OpenApiController } from './http/openapi.controller.ts';
import { PeopleController } from './http/people.controller.ts';
import { ListsController } from './http/lists.controller.ts';
import { UsageController } from './http/usage.controller.ts';
import { NotaryController } from './rpc/notary.controller.ts';
import { openApiOf, routesOf } from './openapi/document.ts';
import { ADMIN_KEY, API_DOCUMENT, BOARD, CORE } from './tokens.ts';

/** Everything under /api/v1: what GET /api/v1/openapi.json tells of. */
export const apiControllers = [
  ExplainController,
  ListsController,
  UsageController,
  PeopleController,
  CommandsController,
  KvController,
  OpenApiController,
] as const;

let document: object | undefined;
const apiDocument = (): object => (document ??= openApiOf(routesOf(apiControllers), '1'));

@Module({})
// oxlint-disable-next-line typescript/no-extraneous-class -- a Nest module is its decorator
export class DiagnosticsModule {
  static of(core: Core, board: HealthBoard, adminKey: string): DynamicModule {
    return {
      module: DiagnosticsModule,
      controllers: [HealthController, ...apiControllers, NotaryController],
      providers: [
        { provide: CORE, useValue: core },
        { provide: BOARD, useValue: board },
        { provide: ADMIN_KEY, useValue: adminKey },
        { provide: API_DOCUMENT, useValue: apiDocument },
      ],
    };
  }
}

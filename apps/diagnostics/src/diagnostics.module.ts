import type { HealthBoard } from '#libs/observability';
import type { DynamicModule } from '@nestjs/common';
import { Module } from '@nestjs/common';
import type { Core } from './core.ts';
import { CommandsController } from './http/commands.controller.ts';
import { ExplainController } from './http/explain.controller.ts';
import { HealthController } from './http/health.controller.ts';
import { ListsController } from './http/lists.controller.ts';
import { UsageController } from './http/usage.controller.ts';
import { NotaryController } from './rpc/notary.controller.ts';
import { ADMIN_KEY, BOARD, CORE } from './tokens.ts';

@Module({})
// oxlint-disable-next-line typescript/no-extraneous-class -- a Nest module is its decorator
export class DiagnosticsModule {
  static of(core: Core, board: HealthBoard, adminKey: string): DynamicModule {
    return {
      module: DiagnosticsModule,
      controllers: [
        HealthController,
        ExplainController,
        ListsController,
        UsageController,
        CommandsController,
        NotaryController,
      ],
      providers: [
        { provide: CORE, useValue: core },
        { provide: BOARD, useValue: board },
        { provide: ADMIN_KEY, useValue: adminKey },
      ],
    };
  }
}

import type { HealthBoard } from '#libs/observability';
import type { DynamicModule } from '@nestjs/common';
import { Module } from '@nestjs/common';
import type { Core } from './core.ts';
import { HealthController } from './http/health.controller.ts';
import { KvController } from './http/kv.controller.ts';
import { MooncakeController } from './http/mooncake.controller.ts';
import { ADMIN_KEY, BOARD, CORE } from './tokens.ts';

@Module({})
// oxlint-disable-next-line typescript/no-extraneous-class -- a Nest module is its decorator
export class KvIndexModule {
  static of(core: Core, board: HealthBoard, adminKey: string): DynamicModule {
    return {
      module: KvIndexModule,
      controllers: [HealthController, KvController, MooncakeController],
      providers: [
        { provide: CORE, useValue: core },
        { provide: BOARD, useValue: board },
        { provide: ADMIN_KEY, useValue: adminKey },
      ],
    };
  }
}

import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Everything of Lintel's own that is no projection: those are made and rebuilt by their definitions. */
class Catalog1764000000000 implements MigrationInterface {
  name = 'Catalog1764000000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query('create schema if not exists lintel');
    // One row per build of a projection: its tables' place, its checkpoint, its health.
    await runner.query(`
      create table lintel.projection (
        name text not null,
        version int8 not null,
        generation int8 not null,
        schema_name text not null unique,
        shape text not null,
        phase text not null check (phase in ('live', 'building', 'retired')),
        seq int8 not null default 0,
        writer text not null default '',
        head_seq int8 not null default 0,
        items int8 not null default 0,
        counts jsonb not null default '{}',
        halted_seq int8,
        halted_code text,
        halted_reason text,
        created_at timestamptz not null default now(),
        moved_at timestamptz,
        reported_at timestamptz,
        retired_at timestamptz,
        primary key (name, version, generation)
      )`);
    await runner.query(`create unique index projection_live on lintel.projection (name) where phase = 'live'`);
    await runner.query(`create unique index projection_building on lintel.projection (name) where phase = 'building'`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop schema lintel cascade');
  }
}

/** A second place for the notary's seals, out of the reach of whoever may change the stream. */
class Anchors1764100000000 implements MigrationInterface {
  name = 'Anchors1764100000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table lintel.anchor (
        seq int8 primary key,
        json text not null,
        copied_at timestamptz not null default now()
      )`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop table lintel.anchor');
  }
}

/** Indexes are made when a build has caught up: filling a table that has them takes twice as long. */
class IndexedLater1764200000000 implements MigrationInterface {
  name = 'IndexedLater1764200000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query('alter table lintel.projection add column indexed boolean not null default true');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('alter table lintel.projection drop column indexed');
  }
}

export const migrations = [Catalog1764000000000, Anchors1764100000000, IndexedLater1764200000000];

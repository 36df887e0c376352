import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { Ajv } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { parse, parseAllDocuments } from 'yaml';
import { parseConfig } from '#libs/nest-kit';

const root = join(import.meta.dirname, '../..');
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

describe('docker-compose.yml', () => {
  const compose = parse(read('docker-compose.yml'), { merge: true }) as {
    services: Record<
      string,
      { command?: string[]; depends_on?: Record<string, unknown>; ports?: string[]; volumes?: string[] }
    >;
    volumes: Record<string, unknown>;
  };

  test('follows the compose specification', () => {
    const ajv = new Ajv2020({ strict: false, validateFormats: false });
    const validate = ajv.compile(JSON.parse(read('test/deploy/schemas/compose-spec-2.16.2.json')) as object);
    validate(compose);
    expect(validate.errors).toBeNull();
  });

  test('what a service depends on, mounts and runs is there', () => {
    for (const [name, service] of Object.entries(compose.services)) {
      for (const other of Object.keys(service.depends_on ?? {}))
        expect([name, Object.keys(compose.services)]).toEqual([name, expect.arrayContaining([other])]);
      for (const volume of service.volumes ?? []) {
        const [source = ''] = volume.split(':');
        if (source.startsWith('./')) expect(() => read(source)).not.toThrow();
        else expect(Object.keys(compose.volumes)).toContain(source);
      }
      const main = service.command?.find((part) => part.startsWith('dist/'));
      if (main !== undefined) expect(() => read(main.replace('dist/', '').replace(/\.js$/, '.ts'))).not.toThrow();
    }
  });

  test('nothing is published beyond loopback', () => {
    const published = Object.values(compose.services).flatMap(({ ports }) => ports ?? []);
    expect(published.filter((port) => !port.startsWith('127.0.0.1:'))).toEqual([]);
  });
});

describe('k8s/', () => {
  const schema = JSON.parse(read('test/deploy/schemas/kubernetes-1.37.2-subset.json')) as {
    kinds: Record<string, string>;
    definitions: Record<string, Record<string, unknown>>;
  };
  schema.definitions['io.k8s.apimachinery.pkg.util.intstr.IntOrString'] = { type: ['string', 'integer'] };
  const ajv = new Ajv({ strict: false, validateFormats: false });
  ajv.addSchema({ $id: 'k8s', definitions: schema.definitions });

  const manifests = globSync('k8s/**/*.yaml', { cwd: root })
    .filter((path) => !/(kustomization|lintel)\.yaml$/.test(path))
    .flatMap((path) =>
      parseAllDocuments(read(path)).map((document, index) => ({
        name: `${path}#${index}`,
        value: document.toJS() as Manifest,
      })),
    );

  interface Manifest {
    apiVersion: string;
    kind: string;
  }

  test.each(manifests)('$name follows the schema of its kind', ({ value }) => {
    const definition = schema.kinds[`${value.apiVersion}/${value.kind}`];
    expect(definition).toBeDefined();
    const validate = ajv.compile({ $ref: `k8s#/definitions/${definition}` });
    validate(value);
    expect(validate.errors).toBeNull();
  });

  test('a mistyped name would be refused', () => {
    const service = manifests.find(({ value }) => value.kind === 'Service')?.value as unknown as { spec: object };
    const validate = ajv.compile({ $ref: 'k8s#/definitions/io.k8s.api.core.v1.Service' });
    expect(validate({ ...service, spec: { ...service.spec, selctor: {} } })).toBe(false);
  });

  test('kustomizations name files that are there, and every file is named', () => {
    for (const folder of ['k8s/base', 'k8s/overlays/dev']) {
      const { resources, configMapGenerator } = parse(read(`${folder}/kustomization.yaml`)) as {
        resources: string[];
        configMapGenerator: { files: string[] }[];
      };
      const named = [...resources, ...configMapGenerator.flatMap(({ files }) => files)].filter(
        (name) => !name.startsWith('..'),
      );
      for (const name of named) expect(() => read(`${folder}/${name}`)).not.toThrow();
      const present = globSync('*', { cwd: join(root, folder) }).filter((name) => name !== 'kustomization.yaml');
      expect(named.sort()).toEqual(present.sort());
    }
  });
});

test.each(['docker/lintel.yaml', 'k8s/base/lintel.yaml', 'k8s/overlays/dev/lintel.yaml'])(
  '%s is a valid configuration',
  (path) => {
    expect(parseConfig(read(path), path).policies).toHaveLength(1);
  },
);

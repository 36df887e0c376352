// Writes docker/nats.conf and k8s/base/nats.conf from docker/nats.json: the same permissions that `npm start` gives each app.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { prepare, root } from './prepare.mjs';

if (process.argv.includes('--help')) {
  process.stdout.write(
    'node tools/nats-conf.mjs\n\nWrites docker/nats.conf and k8s/base/nats.conf. Run it after a change of libs/event-log-nats/src/permissions.ts or docker/nats.json.\n',
  );
  process.exit(0);
}
await prepare();
const { natsServerConfig } = await import(join(root, 'dist/libs/event-log-nats/src/index.js'));
const text = natsServerConfig(JSON.parse(readFileSync(join(root, 'docker/nats.json'), 'utf8')));
for (const file of ['docker/nats.conf', 'k8s/base/nats.conf']) {
  writeFileSync(join(root, file), text);
  process.stdout.write(`  ✓ ${file}\n`);
}

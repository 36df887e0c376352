// Decides every golden pick again with the built code, under whichever Node runs this, and prints what came of it as one JSON line.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fromBinary } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import { reexecute } from '#libs/domain/route';

const folder = fileURLToPath(new URL('.', import.meta.url));
const out = { node: process.versions.node, records: 0, equal: 0, chosen: 0, first: undefined };
for (const file of readdirSync(folder)
  .filter((name) => /^picks-\d+\.txt$/.test(name))
  .sort()) {
  for (const line of readFileSync(join(folder, file), 'utf8').split('\n').filter(Boolean)) {
    const frame = fromBinary(route.RecordFrameSchema, Buffer.from(line, 'base64'));
    for (const [index, record] of frame.records.entries()) {
      out.records++;
      const result = reexecute(frame, index);
      if (result.equal) out.equal++;
      else out.first ??= { file, requestId: record.requestId, ...result };
      if (record.picks.some(({ chosen }) => chosen > 0)) out.chosen++;
    }
  }
}
console.log(JSON.stringify(out));

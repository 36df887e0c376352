// Holds docker-compose.yml and k8s/ to the real tools: `docker compose config` and `kubectl kustomize`. No engine, no cluster.
// The tools come from PATH, or are built once from their Go modules into the cache folder.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from './prepare.mjs';

const composeVersion = 'v5.6.0';
const kubernetesVersion = 'v1.37.2';
const buildMsMax = 15 * 60_000;
/** A module proxy that fails once is asked again. */
const goTries = 2;

const usage = `node tools/check-deploy.mjs

Runs \`docker compose config\` on docker-compose.yml and \`kubectl kustomize\` on k8s/. Where a tool is not on PATH it is built from its Go
module into $LINTEL_CACHE (default ~/.cache/lintel), which needs Go and a few minutes; without Go the check is skipped, and says so.
Each tool must also refuse a broken file: one that accepts everything would prove nothing.
Ends with \`N passed, N failed, N skipped\`.
`;
if (process.argv.includes('--help')) {
  process.stdout.write(usage);
  process.exit(0);
}

const folder = join(process.env.LINTEL_CACHE ?? join(homedir(), '.cache/lintel'), 'deploy-tools');
const goEnv = { ...process.env, GOFLAGS: '-buildvcs=false', CGO_ENABLED: '0' };
const counts = { passed: 0, failed: 0, skipped: 0 };

function run(command, args, options = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: 'utf8',
    maxBuffer: 64 * 2 ** 20,
    ...options,
  });
  return { ok: status === 0, stdout: stdout ?? '', output: `${error?.message ?? ''}${stdout ?? ''}${stderr ?? ''}` };
}

function go(args, cwd) {
  for (let attempt = 1; ; attempt++) {
    const result = run('go', args, { cwd, env: goEnv, timeout: buildMsMax });
    if (result.ok) return result.stdout;
    if (attempt === goTries) throw new Error(`go ${args[0]}: ${result.output.trim().split('\n').slice(-3).join(' ')}`);
  }
}

/** Where it is built first and then moved to, so that an interrupted build leaves nothing that looks like a tool. */
function buildTo(binary, work, program) {
  go(['build', '-trimpath', '-ldflags', '-s -w', '-o', `${binary}.tmp`, program], work);
  renameSync(`${binary}.tmp`, binary);
  return binary;
}

/** A module of its own that names the program as a tool, so that `go build` picks every dependency at its own version. */
function buildCompose() {
  const binary = join(folder, `docker-compose-${composeVersion}`);
  if (existsSync(binary)) return binary;
  const work = join(folder, 'compose');
  mkdirSync(work, { recursive: true });
  writeFileSync(join(work, 'go.mod'), 'module deploytools/compose\n\ngo 1.25\n');
  go(['get', '-tool', `github.com/docker/compose/v5/cmd@${composeVersion}`], work);
  return buildTo(binary, work, 'github.com/docker/compose/v5/cmd');
}

/** The published k8s.io/kubernetes module points its parts at ./staging, which it does not carry: each is mapped onto its own release. */
function buildKubectl() {
  const binary = join(folder, `kubectl-${kubernetesVersion}`);
  if (existsSync(binary)) return binary;
  const work = join(folder, 'kubectl');
  mkdirSync(work, { recursive: true });
  const { GoMod } = JSON.parse(go(['mod', 'download', '-json', `k8s.io/kubernetes@${kubernetesVersion}`], work));
  const text = readFileSync(GoMod, 'utf8');
  const parts = kubernetesVersion.replace('v1.', 'v0.');
  const replaced = [...text.matchAll(/^\s*(k8s\.io\/[a-z-]+) => \.\/staging/gm)].map(
    ([, path]) => `\t${path} => ${path} ${parts}`,
  );
  const language = /^go .*$/m.exec(text)?.[0] ?? 'go 1.25';
  writeFileSync(
    join(work, 'go.mod'),
    `module deploytools/kubectl\n\n${language}\n\nrequire k8s.io/kubernetes ${kubernetesVersion}\n\nreplace (\n${replaced.join('\n')}\n)\n\ntool k8s.io/kubernetes/cmd/kubectl\n`,
  );
  go(['mod', 'tidy'], work);
  return buildTo(binary, work, 'k8s.io/kubernetes/cmd/kubectl');
}

/** How to run each tool: what is on PATH first. */
function tool(onPath, probe, build) {
  if (run(onPath[0], [...onPath.slice(1), ...probe]).ok) return onPath;
  if (!run('go', ['version']).ok) return undefined;
  mkdirSync(folder, { recursive: true });
  return [build()];
}

/** `wanted`: false where the tool has to refuse. */
function check(name, prepared, args, wanted = true) {
  if (prepared === undefined) {
    counts.skipped++;
    process.stdout.write(`  - ${name}: skipped, the tool is not on PATH and there is no Go to build it\n`);
    return;
  }
  const startMs = Date.now();
  const result = run(prepared[0], [...prepared.slice(1), ...args], { cwd: root });
  const holds = result.ok === wanted;
  counts[holds ? 'passed' : 'failed']++;
  process.stdout.write(
    `  ${holds ? '✓' : '✗'} ${name.padEnd(60)} ${((Date.now() - startMs) / 1000).toFixed(1)} s\n${holds ? '' : result.output}`,
  );
}

/** Undefined where the tool cannot be had; where it should be and cannot be built, that is a failure. */
function prepared(name, onPath, probe, build) {
  const startMs = Date.now();
  try {
    const command = tool(onPath, probe, build);
    if (command !== undefined)
      process.stdout.write(
        `  ✓ ${`${name}: ${command.join(' ').replace(folder, '<cache>')}`.padEnd(60)} ${((Date.now() - startMs) / 1000).toFixed(1)} s\n`,
      );
    return command;
  } catch (error) {
    counts.failed++;
    process.stdout.write(`  ✗ ${name} cannot be built: ${error.message}\n`);
    return undefined;
  }
}

const broken = mkdtempSync(join(tmpdir(), 'lintel-deploy-'));
try {
  writeFileSync(join(broken, 'compose.yml'), 'services:\n  a:\n    image: x\n    depends_on: [absent]\n');
  writeFileSync(join(broken, 'kustomization.yaml'), 'resources: [absent.yaml]\n');
  const compose = prepared('docker compose', ['docker', 'compose'], ['version'], buildCompose);
  check('docker compose config', compose, ['-f', 'docker-compose.yml', 'config', '-q']);
  check('docker compose refuses a broken file', compose, ['-f', join(broken, 'compose.yml'), 'config', '-q'], false);
  const kubectl = prepared('kubectl', ['kubectl'], ['version', '--client'], buildKubectl);
  for (const overlay of ['k8s/base', 'k8s/overlays/dev'])
    check(`kubectl kustomize ${overlay}`, kubectl, ['kustomize', overlay]);
  check('kubectl kustomize refuses a broken folder', kubectl, ['kustomize', broken], false);
} finally {
  rmSync(broken, { recursive: true, force: true });
}

process.stdout.write(`\n${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`);
process.exit(counts.failed === 0 ? 0 : 1);

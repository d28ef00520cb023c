// `skein authz check`: whether a request would be let in, which rule of which file decides, and which rule came nearest. Of the running
// mesh, or of the objects in files.
import { readFileSync } from 'node:fs';
import { defaultMeshConfig, type MeshConfig, parseMeshConfig } from '../api/mesh-config/mesh-config.ts';
import { formatProblem, hasErrors } from '../api/problem.ts';
import { validateTexts } from '../api/validate.ts';
import { type AuthzQuery, queryProblem } from '../explain/asked-request.ts';
import { type AuthzAnswer, checkAuthz } from '../explain/authz-check.ts';
import { plannedMesh } from '../explain/known-mesh.ts';
import { AdminClient } from './admin-client.ts';
import { EXIT_FAILED, newCommand, outputFormat, runCommand, UsageError, withOutputOption, withStateOption } from './command-line.ts';
import { readDocuments } from './document-files.ts';
import { explained } from './explained-text.ts';
import { print, structured } from './output.ts';

interface Options {
  readonly output: string;
  readonly state?: string;
  readonly filename: readonly string[];
  readonly meshConfig?: string;
  readonly from?: string;
  readonly principal?: string;
  readonly namespace?: string;
  readonly serviceAccount?: string;
  readonly ip?: string;
  readonly plaintext?: boolean;
  readonly to?: string;
  readonly tcp?: boolean;
  readonly method?: string;
  readonly path?: string;
  readonly host?: string;
  readonly sni?: string;
  readonly header: readonly string[];
  readonly claims?: string;
  readonly tokenFile?: string;
}

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

const program = () =>
  withOutputOption(withStateOption(newCommand('authz', 'Whether a request would be let in, and which rule decides.')))
    .argument('<what>', 'check')
    .option('--from <workload>', 'the source: NAME or NAME.NAMESPACE')
    .option('--principal <identity>', 'the source: cluster.local/ns/NAMESPACE/sa/ACCOUNT')
    .option('-n, --namespace <name>', "the source's namespace, with --service-account")
    .option('--service-account <name>', "the source's account, with --namespace")
    .option('--ip <address>', "the source's address")
    .option('--plaintext', 'the source uses no mutual TLS')
    .option('--to <destination>', 'a service or workload: NAME, NAME:PORT, NAME.NAMESPACE:PORT')
    .option('--tcp', 'a connection, not a request')
    .option('-X, --method <method>', 'GET when absent')
    .option('--path <path>', '/ when absent')
    .option('--host <host>', "the service's name when absent")
    .option('--sni <name>', 'as a mesh client sends it when absent')
    .option('-H, --header <name:value>', 'a request header; may be repeated', collect, [])
    .option('--claims <json>', 'claims of a token that is taken for valid')
    .option('--token-file <file>', 'a token, which is verified; - for standard input')
    .option('-f, --filename <path>', 'ask about the objects in files, not the running mesh; may be repeated', collect, [])
    .option('--mesh-config <file>', 'with -f: the mesh-wide settings')
    .addHelpText(
      'after',
      `
Examples:
  skein authz check --from web --to payment-service -X POST --path /api/v1/charge
  skein authz check --principal cluster.local/ns/staging/sa/tester --to redis:6379
  skein authz check -f examples/shop/mesh -f policies/ --from order-service --to payment-service
  skein authz check --to api-gateway --claims '{"iss":"https://issuer.example","sub":"me"}'

The answer is what the proxy of the destination does: it is decided with the configuration that the proxy is given.
With -f nobody runs: each Workload has one replica, and keys for tokens are known only where an object holds them.
Exit codes: 0 let in, also where an external authorizer has the last word; 1 refused, or not to be answered; 2 wrong usage;
3 no control plane is running.`,
    );

export const command = {
  name: 'authz',
  summary: 'ask whether a request would be let in, and which rule decides',
  run: (argv: readonly string[]): Promise<void> =>
    runCommand(program(), argv, async ([what, ...rest], options: Options) => {
      if (what !== 'check') throw new UsageError(`authz knows "check", not ${JSON.stringify(what)}`);
      if (rest.length > 0) throw new UsageError(`authz check takes no ${JSON.stringify(rest[0])}: name the ends with --from and --to`);
      const format = outputFormat(options.output);
      const query = queryOf(options);
      const answer = options.filename.length === 0 ? await askRunning(query, options) : await askFiles(query, options);
      if (answer === undefined) return;
      print(format === 'table' ? explained(answer) : structured(answer, format));
      if (answer.verdict === 'denied') process.exitCode = EXIT_FAILED;
    }),
};

const queryOf = (o: Options): AuthzQuery => {
  if (o.to === undefined) throw new UsageError('name the destination with --to');
  const headers = Object.fromEntries(o.header.map(headerOf));
  const given = {
    ...pick(o, ['from', 'principal', 'namespace', 'serviceAccount', 'ip', 'plaintext', 'tcp', 'method', 'path', 'host', 'sni']),
    to: o.to,
    ...(o.header.length === 0 ? {} : { headers }),
    ...(o.claims === undefined ? {} : { claims: json(o.claims) }),
    ...(o.tokenFile === undefined ? {} : { token: readToken(o.tokenFile) }),
  };
  const problem = queryProblem(given);
  if (problem !== undefined) throw new UsageError(problem);
  return given as AuthzQuery;
};

const pick = <K extends keyof Options>(o: Options, keys: readonly K[]): Partial<Pick<Options, K>> =>
  Object.fromEntries(keys.flatMap((key) => (o[key] === undefined ? [] : [[key, o[key]]]))) as Partial<Pick<Options, K>>;

const headerOf = (text: string): readonly [string, string] => {
  const colon = text.indexOf(':', 1);
  if (colon < 0) throw new UsageError(`--header ${JSON.stringify(text)} is not NAME:VALUE`);
  return [text.slice(0, colon).trim(), text.slice(colon + 1).trim()];
};

const json = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    throw new UsageError('--claims is not JSON');
  }
};

const readToken = (file: string): string => {
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8').trim();
  } catch (error) {
    throw new UsageError(`cannot read ${file}: ${(error as NodeJS.ErrnoException).code ?? String(error)}`);
  }
};

const askRunning = async (query: AuthzQuery, { state }: Options): Promise<AuthzAnswer> =>
  (await new AdminClient(state).json('GET', `/v1/explain/authz?q=${encodeURIComponent(JSON.stringify(query))}`)) as AuthzAnswer;

/** Undefined after the problems have been told. */
const askFiles = async (query: AuthzQuery, options: Options): Promise<AuthzAnswer | undefined> => {
  const read = await readDocuments(options.filename);
  const { resources, problems: found } = validateTexts(read.documents, 'default');
  const problems = [...read.problems, ...found].filter((p) => p.severity === 'error');
  const settings = meshConfig(options.meshConfig);
  if (hasErrors(problems)) return fail(problems.map(formatProblem).join('\n'));
  const answer = checkAuthz(plannedMesh(resources, settings), query, Math.floor(Date.now() / 1000));
  return answer.ok ? answer.value : fail(`skein: ${answer.error}`);
};

const fail = (text: string): undefined => {
  process.stderr.write(`${text}\n`);
  process.exitCode = EXIT_FAILED;
  return undefined;
};

const meshConfig = (file: string | undefined): MeshConfig => {
  if (file === undefined) return defaultMeshConfig();
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new UsageError(`cannot read ${file}: ${(error as NodeJS.ErrnoException).code ?? String(error)}`);
  }
  const read = parseMeshConfig(file, text);
  if (!read.ok) throw new UsageError(read.error.map(formatProblem).join('\n'));
  return read.value.config;
};

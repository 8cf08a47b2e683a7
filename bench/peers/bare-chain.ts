// The processes of a durable change with nothing in them: no validation, no authorisation, no record, no fold, no fence, no proof. Roles: api, worker, agent.
// What is left is what any such chain costs: a request, one commit with its NOTIFY, a read of what was committed, two hand-overs between processes.
import { Agent, createServer, request } from 'node:http';
import { connect, createServer as createRelay } from 'node:net';
import pg from 'pg';

const [role, ...words] = process.argv.slice(2);

const INSERT = 'WITH one AS (INSERT INTO change (line) VALUES ($1) RETURNING id) SELECT pg_notify($2, id::text) FROM one';
const SELECT = 'SELECT id, line FROM change WHERE id > $1 ORDER BY id';
const CHANNEL = 'bare_chain';

async function open(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return client;
}

/** Takes a change over HTTP, and answers when it is durable. */
async function api(database = '', port = ''): Promise<void> {
  const client = await open(database);
  await client.query('CREATE TABLE IF NOT EXISTS change (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, line text NOT NULL)');
  createServer((asked, answer) => {
    asked.resume();
    client
      .query({ name: 'insert', text: INSERT, values: [`${asked.method} ${asked.url}`, CHANNEL] })
      .then(() => answer.end('{}'))
      .catch((error: Error) => answer.writeHead(500).end(error.message));
  }).listen(Number(port), '127.0.0.1', () => console.log('ready'));
}

/** Reads what was committed when it is told to look, and hands it to the agent. */
async function worker(database = '', agentPort = ''): Promise<void> {
  const [listener, client] = [await open(database), await open(database)];
  const relay = connect({ port: Number(agentPort), host: '127.0.0.1', noDelay: true });
  let last = '0';
  listener.on('notification', async () => {
    const { rows } = await client.query<{ id: string; line: string }>({ name: 'select', text: SELECT, values: [last] });
    for (const { id, line } of rows) {
      last = id;
      relay.write(`${line}\n`);
    }
  });
  await listener.query(`LISTEN ${CHANNEL}`);
  console.log('ready');
}

/** Hands it to what pushes to Envoy. */
async function agent(port = '', trigger = ''): Promise<void> {
  const kept = new Agent({ keepAlive: true });
  createRelay((from) => {
    from.setEncoding('utf8').on('data', (text: string) => {
      for (const line of text.trim().split('\n')) {
        const [method, path] = line.split(' ') as [string, string];
        request(trigger + path, { method, agent: kept }, (answer) => answer.resume()).end();
      }
    });
  }).listen(Number(port), '127.0.0.1', () => console.log('ready'));
}

const roles: Readonly<Record<string, (...options: string[]) => Promise<void>>> = { api, worker, agent };
await roles[role ?? '']?.(...words);

import { z } from 'zod';

import { readUsersvcConfig } from '#platform/config/demo-config.js';

import { BadBody, type DemoAnswer, healthAnswer, notFound, serveDemo } from './demo-server.js';
import { openUsers, type Users } from './users.table.js';

const UserName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'a name is a letter or digit, then up to 63 letters, digits, dots, dashes and underscores');
const UserBody = z.strictObject({ fullname: z.string().min(1).max(200) });

const config = readUsersvcConfig();
const users = openUsers(config.databaseUrl);

/** A small user service: GET /health, GET /users, and GET, PUT {"fullname": ...} and DELETE on /user/NAME. */
await serveDemo({
  name: 'usersvc',
  listen: config.listen,
  routes: async ({ method, path, readJson }) => {
    if (path === '/health' && method === 'GET') return health();
    if (path === '/users' && method === 'GET') return { status: 200, body: { ok: true, users: await users.list() } };
    const name = /^\/user\/([^/]+)$/.exec(path)?.[1];
    if (name === undefined) return notFound(path);
    const parsed = UserName.safeParse(name);
    if (!parsed.success) throw new BadBody(parsed.error.issues[0]?.message);
    return answerUser(method, parsed.data, readJson);
  },
  onStop: () => users.close(),
});

async function health(): Promise<DemoAnswer> {
  try {
    await users.check();
    return await healthAnswer('user', true);
  } catch (error) {
    return healthAnswer('user', false, `its database does not answer (${(error as { code?: string }).code ?? 'no connection'})`);
  }
}

async function answerUser(method: string, name: string, readJson: () => Promise<unknown>): Promise<DemoAnswer> {
  switch (method) {
    case 'GET':
      return found(await users.find(name), name);
    case 'PUT': {
      const body = UserBody.safeParse(await readJson());
      if (!body.success) throw new BadBody('the body must be {"fullname": "..."}, 1 to 200 characters');
      await users.put({ name, fullname: body.data.fullname });
      return { status: 200, body: { ok: true, name, fullname: body.data.fullname } };
    }
    case 'DELETE':
      return (await users.remove(name)) ? { status: 200, body: { ok: true, name } } : notFound(`user ${name}`);
    default:
      return { status: 405, body: { ok: false, error: `${method} is not among GET, PUT, DELETE` } };
  }
}

function found(user: Awaited<ReturnType<Users['find']>>, name: string): DemoAnswer {
  return user ? { status: 200, body: { ok: true, ...user } } : notFound(`user ${name}`);
}

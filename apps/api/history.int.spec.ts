import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { parse } from 'yaml';

import { sqlQuery } from '#platform/database/database.js';
import { sha256Hex } from '#platform/kernel/digest.js';
import { canonicalJson, type Json } from '#platform/kernel/json.js';

import { startTestApi, type TestAnswer, type TestApi } from './test-api.js';

const g = '/v1/gateways/default';

/**
 * One gateway's life, told in versions: 1 created, 2 user created, 3 grue created, 4 user changed, 5 user changed back by hand, 6 user deleted, 7 user
 * created again, elsewhere, 8 settings, 9 a principal, 10 grue changed and to be confirmed.
 */
describe('history over HTTP', () => {
  let test: TestApi;
  const read = (path: string, headers: Record<string, string> = {}) => test.ask('GET', `${g}${path}`, { headers });
  const times = new Map<number, string>();

  beforeAll(async () => {
    test = await startTestApi();
    const write = async (version: number, method: string, path: string, body?: Json) => {
      const answer = await test.ask(method, path, body === undefined ? {} : { body });
      expect([version, answer.status < 300, answer.text]).toEqual([version, true, answer.text]);
      expect((await read('/versions?limit=1')).json.items[0].version).toBe(version);
    };
    await write(2, 'POST', `${g}/mappings?reason=first`, { name: 'user', prefix: '/user/', service: 'usersvc', labels: { team: 'a' } });
    await write(3, 'POST', `${g}/mappings`, { name: 'grue', prefix: '/grue/', service: 'gruesvc', host: 'dark.example.com' });
    await write(4, 'PATCH', `${g}/mappings/user?reason=slow`, { timeoutMs: 7000, labels: { team: 'b' } });
    await write(5, 'PATCH', `${g}/mappings/user`, { timeoutMs: 5000, labels: { team: 'a' } });
    await write(6, 'DELETE', `${g}/mappings/user`);
    await write(7, 'PUT', `${g}/mappings/user`, { prefix: '/people/', service: 'peoplesvc' });
    await write(8, 'PATCH', `${g}/settings`, { defaultTimeoutMs: 4000 });
    await write(9, 'POST', '/ambassador/principal/alice', { fingerprint: 'ab'.repeat(32) });
    await write(10, 'PATCH', `${g}/mappings/grue?confirmWithin=1h`, { timeoutMs: 9000 });
    expect((await test.ask('POST', '/v1/gateways', { body: { name: 'busy' } })).status).toBe(201);
    for (const { version, recordedAt } of (await read('/versions')).json.items) times.set(version, recordedAt);
  });
  afterAll(() => test.close());

  const versionsOf = (answer: TestAnswer) => answer.json.items.map(({ version }: { version: number }) => version);
  const at = (version: number) => times.get(version) ?? '';

  describe('the list of versions', () => {
    it('can be bounded by time: a recordedAt as it was read, both ends included', async () => {
      expect(versionsOf(await read(`/versions?since=${at(4)}&until=${at(6)}`))).toEqual([6, 5, 4]);
      expect(versionsOf(await read(`/versions?since=${at(9)}`))).toEqual([10, 9]);
      expect(versionsOf(await read(`/versions?until=${at(2)}`))).toEqual([2, 1]);
      expect(versionsOf(await read(`/versions?since=${at(6)}&until=${at(4)}`))).toEqual([]);
      expect(versionsOf(await read('/versions?until=1999-12-31T23:59:59Z'))).toEqual([]);
      expect(versionsOf(await read('/versions?since=9999-01-01T00:00:00Z'))).toEqual([]);
      expect(versionsOf(await read('/versions?since=0000-01-01T00:00:00Z&limit=1'))).toEqual([10]);
    });

    it('takes zones and whole days', async () => {
      const day = at(1).slice(0, 10);
      const next = new Date(Date.parse(day) + 86_400_000).toISOString().slice(0, 10);
      const end = at(10).slice(0, 10);
      expect(versionsOf(await read(`/versions?since=${day}&until=${end}`))).toHaveLength(10);
      expect(versionsOf(await read(`/versions?since=${next}T00:00:00Z&until=${day}`))).toEqual([]);
      const fourHoursOn = new Date(Date.parse(at(4)) + 4 * 3_600_000).toISOString().replace('Z', '%2B04:00');
      expect(versionsOf(await read(`/versions?since=${fourHoursOn}&until=${at(6)}`))).toEqual([6, 5, 4]);
    });

    it('filters and pages within the bounds', async () => {
      const filter = `/versions?subject=mapping/user&since=${at(2)}&until=${at(7)}&limit=2`;
      const first = await read(filter);
      expect(versionsOf(first)).toEqual([7, 6]);
      const second = await read(`${filter}&cursor=${first.json.next}`);
      expect(versionsOf(second)).toEqual([5, 4]);
      const third = await read(`${filter}&cursor=${second.json.next}`);
      expect([versionsOf(third), third.json.next]).toEqual([[2], null]);
      expect(versionsOf(await read(`/versions?action=UpdateMapping&until=${at(5)}`))).toEqual([5, 4]);
    });

    it.each(['yesterday', '2026-11-25T08:00:00', '2026-02-30', '2026-11-25 08:00:00Z', '', '1764057600'])(
      'refuses the time %j, and names the parameter',
      async (time) => {
        for (const name of ['since', 'until']) {
          const refused = await read(`/versions?${name}=${encodeURIComponent(time)}`);
          expect(refused.status).toBe(400);
          expect(refused.json).toMatchObject({ code: 'query_invalid', errors: [{ pointer: `/${name}`, code: 'parameter_invalid' }] });
        }
      },
    );

    it('finds the bounds that a search of the whole log finds', async () => {
      const sql = <R>(text: string) => sqlQuery<R>(test.api.database.db, text, []);
      const found = await sql<{ found: number; expected: number }>(
        `SELECT chancery.version_since('gateway/default', v.recorded_at) AS found,
                (SELECT min(w.version) FROM chancery.version w WHERE w.stream = v.stream AND w.recorded_at >= v.recorded_at) AS expected
         FROM chancery.version v WHERE v.stream = 'gateway/default' ORDER BY v.version`,
      );
      expect(found.map(({ found }) => found)).toEqual(found.map(({ expected }) => expected));
      const [edges] = await sql<Record<string, number | null>>(
        `SELECT chancery.version_since('gateway/default', '-infinity') AS first, chancery.version_since('gateway/default', 'infinity') AS past,
                chancery.version_since('gateway/none', now()) AS nowhere, chancery.version_since('gateway/default', NULL) AS never`,
      );
      expect(edges).toEqual({ first: 1, past: 11, nowhere: null, never: null });
    });
  });

  describe('confirmation', () => {
    it('is told with the version, open until it is settled, and the tag goes with it', async () => {
      const deadline = new Date(Date.parse(at(10)) + 3_600_000).toISOString();
      const [newest, before] = (await read('/versions?limit=2')).json.items;
      expect([newest.confirmation, before.confirmation]).toEqual([{ deadline, state: 'open' }, null]);
      const open = await read('/versions/10');
      expect([open.headers.etag, open.json.confirmation]).toEqual(['"10-open"', { deadline, state: 'open' }]);
      const settle = (to: string) =>
        sqlQuery(test.api.database.db, "UPDATE chancery.confirmation SET settled = $1 WHERE stream = 'gateway/default'", [to]);
      await settle('confirmed');
      const confirmed = await read('/versions/10', { 'if-none-match': '"10-open"' });
      expect([confirmed.status, confirmed.headers.etag, confirmed.json.confirmation.state]).toEqual([200, '"10-confirmed"', 'confirmed']);
      expect((await read('/versions/10', { 'if-none-match': '"10-confirmed"' })).status).toBe(304);
      expect((await read('/versions/9')).headers.etag).toBe('"9"');
    });
  });

  describe('the configuration as a document', () => {
    it('is canonical: equal states are equal bytes and have the same digest, also after an undoing by hand', async () => {
      const [third, fourth, fifth] = await Promise.all([3, 4, 5].map((version) => read(`/versions/${version}/config`)));
      expect(third?.status).toBe(200);
      expect(fifth?.text).toBe(third?.text);
      expect(fifth?.headers['chancery-digest']).toBe(third?.headers['chancery-digest']);
      expect(fourth?.text).not.toBe(third?.text);
      expect(fourth?.headers['chancery-digest']).not.toBe(third?.headers['chancery-digest']);
      expect(third?.text).toBe(`${canonicalJson(third?.json)}\n`);
      expect(third?.headers['chancery-digest']).toBe(sha256Hex(canonicalJson(third?.json)));
      expect(third?.headers).toMatchObject({
        etag: '"g3"',
        'chancery-version': '3',
        vary: 'Accept',
        'content-type': 'application/json; charset=utf-8',
      });
      const names = third?.json.mappings.map(({ name }: { name: string }) => name);
      expect([names, third?.json.principals, third?.json.settings.defaultTimeoutMs]).toEqual([['grue', 'user'], [], 5000]);
    });

    it('is what it was before, between and after the ends of a mapping', async () => {
      const user = async (version: number) =>
        (await read(`/versions/${version}/config`)).json.mappings.find(({ name }: { name: string }) => name === 'user')?.prefix;
      expect(await Promise.all([1, 2, 5, 6, 7, 10].map(user))).toEqual([undefined, '/user/', '/user/', undefined, '/people/', '/people/']);
    });

    it('is the head at config, with everything in it', async () => {
      const [head, tenth] = await Promise.all([read('/config'), read('/versions/10/config')]);
      expect([head?.text, head?.headers.etag, head?.headers['chancery-version']]).toEqual([tenth?.text, '"g10"', '10']);
      expect(head?.json).toMatchObject({
        settings: { defaultTimeoutMs: 4000 },
        mappings: [
          { name: 'grue', timeoutMs: 9000 },
          { name: 'user', prefix: '/people/' },
        ],
        principals: [{ name: 'alice' }],
      });
    });

    it('is the same document as YAML, by query or by Accept', async () => {
      for (const path of ['/config', '/versions/4/config']) {
        const json = await read(path);
        const yaml = await read(`${path}?format=yaml`);
        expect(yaml.headers['content-type']).toBe('application/yaml; charset=utf-8');
        expect(canonicalJson(parse(yaml.text))).toBe(canonicalJson(json.json));
        expect(yaml.headers['chancery-digest']).toBe(json.headers['chancery-digest']);
        expect((await read(path, { accept: 'application/yaml' })).text).toBe(yaml.text);
        expect((await read(`${path}?format=json`, { accept: 'application/yaml' })).text).toBe(json.text);
        expect((await read(path, { accept: 'text/html, */*;q=0.8' })).text).toBe(json.text);
      }
    });

    it('is described as both', async () => {
      const { json } = await test.ask('GET', '/v1/openapi.json');
      for (const path of ['config', 'versions/{version}/config']) {
        const answer = json.paths[`/v1/gateways/{gateway}/${path}`].get.responses[200];
        expect(Object.keys(answer.content)).toEqual(['application/json', 'application/yaml']);
      }
    });

    it('answers 304 to whoever has it', async () => {
      for (const [path, tag] of [
        ['/config', '"g10"'],
        ['/versions/4/config', '"g4"'],
      ] as const) {
        const held = await read(path, { 'if-none-match': `"g1", ${tag}` });
        expect([held.status, held.text, held.headers.etag]).toEqual([304, '', tag]);
        expect((await read(path, { 'if-none-match': '"g99"' })).status).toBe(200);
      }
    });

    it.each(['0', '11', '999999999999999', '01', '-1', '1.5', 'head', '1e1', '99999999999999999999'])(
      'does not exist at version %s',
      async (version) => {
        const refused = await read(`/versions/${version}/config`);
        expect([refused.status, refused.json.code]).toEqual([404, 'version_not_found']);
      },
    );

    it('is refused where there is no gateway, and with a format that there is not', async () => {
      for (const path of ['config', 'versions/1/config', 'versions/1/diff', 'settings/history', 'mappings/user/history']) {
        const refused = await test.ask('GET', `/v1/gateways/none/${path}`);
        expect([path, refused.status, refused.json.code]).toEqual([path, 404, 'gateway_not_found']);
      }
      expect((await read('/config?format=toml')).json).toMatchObject({ code: 'query_invalid', errors: [{ pointer: '/format' }] });
      expect((await read('/config?fromat=yaml')).json).toMatchObject({ errors: [{ pointer: '/fromat', code: 'parameter_unknown' }] });
    });
  });

  it('shows one moment: while others write, the document at the head is that of the version it names', async () => {
    const writes = Array.from({ length: 4 }, async (_, writer) => {
      for (let i = 1; i <= 10; i++) {
        const body = { prefix: `/busy-${writer}/`, service: 'usersvc', timeoutMs: 1000 + i };
        expect((await test.ask('PUT', `/v1/gateways/busy/mappings/busy-${writer}`, { body })).status).toBeLessThan(300);
      }
    });
    const seen = new Map<string, string>();
    let writing = true;
    const reads = Array.from({ length: 2 }, async () => {
      while (writing) {
        const { headers, text } = await test.ask('GET', '/v1/gateways/busy/config');
        expect(seen.get(headers['chancery-version'] ?? '') ?? text).toBe(text);
        seen.set(headers['chancery-version'] ?? '', text);
      }
    });
    await Promise.all(writes);
    writing = false;
    await Promise.all(reads);
    expect(seen.size).toBeGreaterThan(1);
    for (const [version, text] of seen) {
      expect([version, (await test.ask('GET', `/v1/gateways/busy/versions/${version}/config`)).text]).toEqual([version, text]);
    }
  });

  describe('the difference of two versions', () => {
    const short = ({ json }: TestAnswer) => [json.from, json.to, json.changes.map((one: Json) => summary(one))];

    it('is to the version before by default, member by member', async () => {
      const { json, status } = await read('/versions/4/diff');
      expect(status).toBe(200);
      expect([json.from, json.to, json.rendered]).toEqual([3, 4, undefined]);
      expect(json.changes).toHaveLength(1);
      expect(json.changes[0]).toMatchObject({
        subject: 'mapping/user',
        op: 'changed',
        before: { timeoutMs: 5000 },
        after: { timeoutMs: 7000 },
      });
      expect(json.changes[0].diff).toEqual([
        { op: 'replace', pointer: '/labels/team', before: 'a', after: 'b' },
        { op: 'replace', pointer: '/timeoutMs', before: 5000, after: 7000 },
      ]);
    });

    it('tells what was added and removed, in either order', async () => {
      expect(short(await read('/versions/6/diff'))).toEqual([5, 6, ['removed mapping/user']]);
      expect(short(await read('/versions/5/diff?against=6'))).toEqual([6, 5, ['added mapping/user']]);
      expect(short(await read('/versions/10/diff?against=2'))).toEqual([
        2,
        10,
        ['changed gateway', 'added mapping/grue', 'changed mapping/user', 'added principal/alice'],
      ]);
      expect(short(await read('/versions/2/diff?against=10'))).toEqual([
        10,
        2,
        ['changed gateway', 'removed mapping/grue', 'changed mapping/user', 'removed principal/alice'],
      ]);
    });

    it('is nothing for what was undone, for a version and itself, and for what came and went', async () => {
      expect(short(await read('/versions/5/diff?against=3'))).toEqual([3, 5, []]);
      expect(short(await read('/versions/4/diff?against=4'))).toEqual([4, 4, []]);
      expect(short(await read('/versions/6/diff?against=1'))).toEqual([1, 6, ['added mapping/grue']]);
      expect(short(await read('/versions/0/diff'))).toEqual([0, 0, []]);
    });

    it('starts from nothing at 0', async () => {
      expect(short(await read('/versions/1/diff'))).toEqual([0, 1, ['added gateway']]);
      expect(short(await read('/versions/6/diff?against=0'))).toEqual([0, 6, ['added gateway', 'added mapping/grue']]);
      expect(short(await read('/versions/0/diff?against=6'))).toEqual([6, 0, ['removed gateway', 'removed mapping/grue']]);
    });

    it('leads from one document to the other, for every pair of versions', async () => {
      const documents = await Promise.all(Array.from({ length: 10 }, (_, i) => read(`/versions/${i + 1}/config`)));
      const subjects = (version: number) => subjectsOf(version === 0 ? {} : documents[version - 1]?.json);
      for (let from = 0; from <= 10; from++) {
        for (let to = 0; to <= 10; to++) {
          const { json } = await read(`/versions/${to}/diff?against=${from}`);
          const state = subjects(from);
          for (const { subject, before, after } of json.changes) {
            expect([from, to, state.get(subject) ?? null]).toEqual([from, to, before]);
            if (after === null) state.delete(subject);
            else state.set(subject, after);
          }
          expect([from, to, [...state].sort()]).toEqual([from, to, [...subjects(to)].sort()]);
        }
      }
    });

    it('tells what changes in Envoy', async () => {
      const { json } = await read('/versions/4/diff?rendered=true');
      expect(json.rendered.changes).toEqual([
        ...['_2a', 'dark_2eexample_2ecom'].map((host) => ({
          resource: 'route',
          name: `${host}/user`,
          op: 'changed',
          diff: [{ op: 'replace', pointer: '/route/timeout', before: '5s', after: '7s' }],
        })),
      ]);
      const { before, after } = json.rendered.renderSha256;
      expect([before, after].map((hash) => /^[0-9a-f]{64}$/.test(hash))).toEqual([true, true]);
      const back = (await read('/versions/3/diff?against=4&rendered=true')).json.rendered;
      expect(back.renderSha256).toEqual({ before: after, after: before });
      const undone = (await read('/versions/5/diff?against=3&rendered')).json.rendered;
      expect(undone).toEqual({ changes: [], renderSha256: { before, after: before } });
    });

    it('tells hosts and clusters that come and go, and the first version whole', async () => {
      const named = (answer: TestAnswer) =>
        answer.json.rendered.changes.map(({ op, resource, name }: Record<string, string>) => `${op} ${resource} ${name}`);
      expect(named(await read('/versions/3/diff?rendered=true'))).toEqual([
        'added virtual_host dark_2eexample_2ecom',
        ...['chancery-marker', 'chancery-reserved', 'grue', 'user'].map((name) => `added route dark_2eexample_2ecom/${name}`),
        'added cluster http-gruesvc-80',
      ]);
      const first = await read('/versions/1/diff?rendered=true');
      expect(named(first)).toEqual([
        'added bootstrap bootstrap',
        'added listener http',
        'added virtual_host _2a',
        'added route _2a/chancery-marker',
        'added route _2a/chancery-reserved',
      ]);
      expect(first.json.rendered.renderSha256.before).toBeNull();
      expect(named(await read('/versions/9/diff?rendered=true'))).toEqual([]); // principals are not enforced yet
    });

    it('is refused for versions that there are not', async () => {
      for (const path of ['/versions/11/diff', '/versions/4/diff?against=11', '/versions/x/diff', '/versions/11/diff?rendered=true']) {
        const refused = await read(path);
        expect([path, refused.status, refused.json.code]).toEqual([path, 404, 'version_not_found']);
      }
      for (const query of ['against=-1', 'against=x', 'against=1.5', 'rendered=perhaps', 'against=1&against=2', 'agianst=1', 'against=']) {
        const refused = await read(`/versions/4/diff?${query}`);
        expect([query, refused.status, refused.json.code]).toEqual([query, 400, 'query_invalid']);
      }
    });
  });

  describe("a subject's own history", () => {
    it('is its whole life, newest first, through its end and its new beginning', async () => {
      const { json, status } = await read('/mappings/user/history');
      expect(status).toBe(200);
      expect(
        json.items.map(({ event, gatewayVersion, subjectVersion }: Record<string, unknown>) => [subjectVersion, gatewayVersion, event]),
      ).toEqual([
        [5, 7, 'MappingCreated'],
        [4, 6, 'MappingDeleted'],
        [3, 5, 'MappingUpdated'],
        [2, 4, 'MappingUpdated'],
        [1, 2, 'MappingCreated'],
      ]);
      expect(json.next).toBeNull();
      expect(json.items[0]).toMatchObject({
        before: null,
        state: { prefix: '/people/' },
        diff: [{ op: 'add', pointer: '', before: null }],
      });
      expect(json.items[1]).toMatchObject({
        before: { prefix: '/user/' },
        state: null,
        diff: [{ op: 'remove', pointer: '', after: null }],
      });
      expect(json.items[3]).toMatchObject({
        schemaVersion: 1,
        action: 'UpdateMapping',
        actor: expect.stringMatching(/^token\//),
        reason: 'slow',
        recordedAt: at(4),
        diff: [{ pointer: '/labels/team' }, { pointer: '/timeoutMs', before: 5000, after: 7000 }],
      });
    });

    it('goes on a page at a time', async () => {
      const seen: number[] = [];
      let cursor = '';
      for (let pages = 0; pages < 9; pages++) {
        const page = await read(`/mappings/user/history?limit=2${cursor}`);
        seen.push(...page.json.items.map(({ subjectVersion }: { subjectVersion: number }) => subjectVersion));
        expect(page.headers.link === undefined).toBe(page.json.next === null);
        if (page.json.next === null) break;
        cursor = `&cursor=${page.json.next}`;
      }
      expect(seen).toEqual([5, 4, 3, 2, 1]);
    });

    it('is there for the settings', async () => {
      const { json } = await read('/settings/history');
      expect(json.items.map(({ event }: { event: string }) => event)).toEqual(['GatewayConfigured', 'GatewayCreated']);
      expect(json.items[0].diff).toEqual([{ op: 'replace', pointer: '/defaultTimeoutMs', before: 5000, after: 4000 }]);
    });

    it('is there for a mapping that is no more, and not for one that never was', async () => {
      await test.ask('DELETE', `${g}/mappings/grue`);
      expect((await read('/mappings/grue')).status).toBe(404);
      const { json } = await read('/mappings/grue/history');
      expect(json.items.map(({ event }: { event: string }) => event)).toEqual(['MappingDeleted', 'MappingUpdated', 'MappingCreated']);
      for (const name of ['nobody', 'NOT-A-NAME', '%2e%2e', 'a%0Ab', 'x'.repeat(280)]) {
        const refused = await read(`/mappings/${name}/history`);
        expect([name, refused.status, refused.json.code]).toEqual([name, 404, 'mapping_not_found']);
      }
    });

    it("refuses what it cannot read, and another list's cursor", async () => {
      const cursor = (await read('/mappings/user/history?limit=1')).json.next;
      expect((await read(`/mappings/user/history?limit=1&cursor=${cursor}`)).status).toBe(200);
      for (const path of [`/settings/history?cursor=${cursor}`, `/mappings/grue/history?cursor=${cursor}`, '/settings/history?cursor=x']) {
        expect((await read(path)).json).toMatchObject({ status: 400, code: 'cursor_invalid' });
      }
      expect((await read('/settings/history?limit=0')).json).toMatchObject({ status: 400, errors: [{ pointer: '/limit' }] });
    });
  });

  it.each(['/mappings/%00/history', '/versions/%00/config', '/versions/%00/diff', '/versions?subject=%00', '/versions?actor=%00'])(
    'refuses %s: nothing here has a NUL in its name',
    async (path) => {
      const answer = await read(path);
      expect([answer.status, answer.json.code]).toEqual([400, 'url_malformed']);
    },
  );

  it('needs the scope read', async () => {
    const { token } = await test.makeToken(['write']);
    for (const path of ['config', 'versions/1/config', 'versions/1/diff', 'settings/history', 'mappings/user/history', 'versions']) {
      expect((await test.ask('GET', `${g}/${path}`, { token })).status).toBe(403);
      expect((await test.ask('GET', `${g}/${path}`, { token: null })).status).toBe(401);
    }
  });
});

function summary(change: Json): string {
  const { op, subject } = change as Record<string, string>;
  return `${op} ${subject}`;
}

/** The subjects of a document, by subject, as the difference names them. */
function subjectsOf(document: Readonly<Record<string, Json>>): Map<string, Json> {
  const named = (kind: string, values: Json) =>
    ((values ?? []) as readonly { readonly name: string }[]).map((value): [string, Json] => [`${kind}/${value.name}`, value as Json]);
  const settings: [string, Json][] = document.settings === undefined ? [] : [['gateway', document.settings]];
  return new Map([...settings, ...named('mapping', document.mappings ?? []), ...named('principal', document.principals ?? [])]);
}

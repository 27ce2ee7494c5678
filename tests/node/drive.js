// Drives a cluster with the Node.js client: what KUBECONFIG names, in a namespace of its own. Ends with status 0 when
// everything is as this client expects it.
//
// What a client cannot do itself it asks of whoever started it, by a line on its output that begins with "> ", and
// reads the answer as a line of its input; see chaos-tests/src/drive.rs.

import assert from 'node:assert/strict';
import readline from 'node:readline';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import * as k8s from '@kubernetes/client-node';

const NAMESPACE = 'test-node';
const IMAGE = 'kontiki.local/web:1';
const LIMIT = 90_000;

const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);
const objects = k8s.KubernetesObjectApi.makeApiClient(config);
const as = (strategy) => k8s.setHeaderOptions('Content-Type', strategy);

const input = readline.createInterface({ input: process.stdin });
const answers = input[Symbol.asyncIterator]();

/** Has the one who started this program do something. */
async function ask(request) {
    console.log(`> ${request}`);
    return (await answers.next()).value;
}

/** The call must fail with this code and reason, as a Status that the client can read. */
async function refused(code, reason, call) {
    const error = await call.then(() => assert.fail(`${code} ${reason} was expected`), (error) => error);
    assert.ok(error instanceof k8s.ApiException, String(error));
    assert.deepEqual([error.code, JSON.parse(error.body).reason], [code, reason]);
}

/** Looks until the answer is there; the limit says that something hangs, not how fast it is. */
async function eventually(what, look) {
    const deadline = Date.now() + LIMIT;
    for (;;) {
        const seen = await look();
        if (seen === true) return;
        assert.ok(Date.now() < deadline, `${what}; last seen: ${JSON.stringify(seen)}`);
        await sleep(50);
    }
}

/** Tries again after what says nothing about the request itself: broken connections, and a cluster without a leader. */
async function insist(what, call, done) {
    await eventually(what, async () => {
        try {
            await call();
            return true;
        } catch (error) {
            if (error.code === done) return true;
            if (error instanceof k8s.ApiException) assert.ok(error.code >= 500 || error.code === 429, String(error));
            return String(error);
        }
    });
}

function deployment(name, replicas) {
    const probe = { httpGet: { path: '/healthz', port: 8080 }, periodSeconds: 1 };
    const containers = [{ name: 'web', image: IMAGE, imagePullPolicy: 'IfNotPresent', readinessProbe: probe }];
    return {
        metadata: { name, labels: { app: name } },
        spec: {
            replicas,
            selector: { matchLabels: { app: name } },
            template: { metadata: { labels: { app: name } }, spec: { containers } },
        },
    };
}

async function configMaps() {
    const made = await core.createNamespacedConfigMap({
        namespace: NAMESPACE,
        body: { metadata: { name: 'conf' }, data: { a: '1' } },
    });
    assert.ok(made.metadata.uid && made.metadata.creationTimestamp instanceof Date);
    const again = { metadata: { name: 'conf' } };
    await refused(409, 'AlreadyExists', core.createNamespacedConfigMap({ namespace: NAMESPACE, body: again }));
    const named = { namespace: NAMESPACE, name: 'conf' };
    const replaced = await core.replaceNamespacedConfigMap({ ...named, body: { ...made, data: { a: '2' } } });
    assert.deepEqual(replaced.data, { a: '2' });
    await refused(409, 'Conflict', core.replaceNamespacedConfigMap({ ...named, body: { ...made, data: { a: '3' } } }));

    // Without a word about its type a patch is a JSON patch.
    let patched = await core.patchNamespacedConfigMap({ ...named, body: [{ op: 'add', path: '/data/b', value: '3' }] });
    assert.deepEqual(patched.data, { a: '2', b: '3' });
    patched = await core.patchNamespacedConfigMap({ ...named, body: { data: { a: null } } }, as(k8s.PatchStrategy.MergePatch));
    assert.deepEqual(patched.data, { b: '3' });
    const applied = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'conf' }, data: { c: '4' } };
    const apply = { ...named, body: applied, fieldManager: 'driver', force: true };
    patched = await core.patchNamespacedConfigMap(apply, as(k8s.PatchStrategy.ServerSideApply));
    assert.deepEqual(patched.data, { b: '3', c: '4' });
    assert.ok(patched.metadata.managedFields.some((entry) => entry.manager === 'driver' && entry.operation === 'Apply'));

    for (const n of ['1', '2', '3', '4', '5']) {
        const body = { metadata: { generateName: 'page-', labels: { n } } };
        await core.createNamespacedConfigMap({ namespace: NAMESPACE, body });
    }
    const pages = [];
    for (let _continue; _continue !== ''; ) {
        const page = await core.listNamespacedConfigMap({ namespace: NAMESPACE, labelSelector: 'n', limit: 2, _continue });
        pages.push(page.items.length);
        _continue = page.metadata._continue ?? '';
    }
    assert.deepEqual(pages, [2, 2, 1]);
    const some = await core.listNamespacedConfigMap({ namespace: NAMESPACE, labelSelector: 'n in (1,3)' });
    assert.equal(some.items.length, 2);
    await core.deleteCollectionNamespacedConfigMap({ namespace: NAMESPACE, labelSelector: 'n' });
    await core.deleteNamespacedConfigMap(named);
    await refused(404, 'NotFound', core.readNamespacedConfigMap(named));
    const bad = { metadata: { name: 'No_Good' } };
    await refused(422, 'Invalid', core.createNamespacedConfigMap({ namespace: NAMESPACE, body: bad }));
}

async function deployments() {
    await apps.createNamespacedDeployment({ namespace: NAMESPACE, body: deployment('web', 1) });
    const named = { namespace: NAMESPACE, name: 'web' };
    const replicas = { spec: { replicas: 2 } };
    await apps.patchNamespacedDeploymentScale({ ...named, body: replicas }, as(k8s.PatchStrategy.MergePatch));
    const env = { containers: [{ name: 'web', env: [{ name: 'A', value: '1' }] }] };
    const body = { spec: { template: { spec: env } } };
    const patched = await apps.patchNamespacedDeployment({ ...named, body }, as(k8s.PatchStrategy.StrategicMergePatch));
    assert.equal(patched.spec.template.spec.containers[0].image, IMAGE, "merged by the container's name");
    await eventually('two replicas', async () => {
        const { metadata, status } = await apps.readNamespacedDeployment(named);
        const all = [status.replicas, status.updatedReplicas, status.availableReplicas].every((count) => count === 2);
        return (all && status.observedGeneration === metadata.generation) || status;
    });
    const pods = await core.listNamespacedPod({ namespace: NAMESPACE, labelSelector: 'app=web' });
    return pods.items.find((pod) => !pod.metadata.deletionTimestamp).metadata.name;
}

/** Runs a command in the pod, as text in and out. */
async function run(pod, command, said) {
    const [out, err, stdin] = [new PassThrough(), new PassThrough(), said === undefined ? null : new PassThrough()];
    const [printed, complained] = [text(out), text(err)];
    const ended = new Promise((resolve, reject) => {
        new k8s.Exec(config).exec(NAMESPACE, pod, 'web', command, out, err, stdin, false, resolve).catch(reject);
    });
    stdin?.end(said);
    const status = await ended;
    return { status, out: await printed, err: await complained };
}

async function streams(pod) {
    const said = 'hello\n'.repeat(5000);
    const failed = await run(pod, ['sh', '-c', 'cat; echo err >&2; exit 3'], said);
    assert.equal(failed.status.reason, 'NonZeroExitCode');
    assert.equal(failed.status.details.causes[0].message, '3');
    assert.ok(failed.out === said && failed.err === 'err\n', `${failed.out.length} bytes, ${failed.err}`);
    const whole = await run(pod, ['echo', 'whole']);
    assert.deepEqual([whole.status.status, whole.out], ['Success', 'whole\n']);

    const containers = [{ name: 'c', image: IMAGE, imagePullPolicy: 'IfNotPresent', command: ['sh', '-c', 'for i in 1 2 3; do echo $i; sleep 0.2; done'] }];
    await core.createNamespacedPod({ namespace: NAMESPACE, body: { metadata: { name: 'said' }, spec: { restartPolicy: 'Never', containers } } });
    await eventually('the pod began', async () => {
        const { status } = await core.readNamespacedPod({ namespace: NAMESPACE, name: 'said' });
        return status.phase === 'Running' || status.phase === 'Succeeded' || status;
    });
    const followed = new PassThrough();
    await new k8s.Log(config).log(NAMESPACE, 'said', 'c', followed, { follow: true });
    assert.equal(await text(followed), '1\n2\n3\n');
    assert.equal(await core.readNamespacedPodLog({ namespace: NAMESPACE, name: 'said', tailLines: 1 }), '3\n');
}

/** Objects of any kind, found by discovery. */
async function generic() {
    const header = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web', namespace: NAMESPACE } };
    const read = await objects.read(header);
    assert.equal(read.spec.replicas, 2);
    const apply = { ...header, spec: { ...deployment('web', 2).spec, minReadySeconds: 1 } };
    const applied = await objects.patch(apply, undefined, undefined, 'driver', true, k8s.PatchStrategy.ServerSideApply);
    assert.equal(applied.spec.minReadySeconds, 1);
    const listed = await objects.list('apps/v1', 'Deployment', NAMESPACE);
    assert.deepEqual(listed.items.map((item) => item.metadata.name), ['web']);
    await objects.delete(header, undefined, undefined, undefined, undefined, 'Foreground');
    await eventually('no pods of the deployment', async () => {
        const left = await core.listNamespacedPod({ namespace: NAMESPACE, labelSelector: 'app=web' });
        return left.items.length === 0 || left.items.length;
    });
}

/** An informer that is told of everything while the leader dies, and a watch that goes on where it broke. */
async function failover() {
    const path = `/api/v1/namespaces/${NAMESPACE}/configmaps`;
    const list = () => core.listNamespacedConfigMap({ namespace: NAMESPACE, labelSelector: 'number' });
    const informer = k8s.makeInformer(config, path, list, 'number');
    const told = [];
    informer.on('add', (object) => told.push(`ADDED ${object.metadata.name}`));
    informer.on('update', (object) => told.push(`MODIFIED ${object.metadata.name}`));
    informer.on('delete', (object) => told.push(`DELETED ${object.metadata.name}`));
    // As the client's documentation has it: after an error it is started anew, and goes on from what it knows.
    let closed = false;
    informer.on('error', () => setTimeout(() => closed || informer.start(), 100));
    await informer.start();

    const expected = [];
    let killed;
    for (let number = 0; number < 60; number++) {
        if (number === 30) killed = ask('kill the leader');
        const name = `n-${number}`;
        const metadata = { name, labels: { number: String(number) } };
        const named = { namespace: NAMESPACE, name };
        await insist(`create ${name}`, () => core.createNamespacedConfigMap({ namespace: NAMESPACE, body: { metadata } }), 409);
        const change = { data: { v: '2' } };
        const merge = as(k8s.PatchStrategy.MergePatch);
        await insist(`change ${name}`, () => core.patchNamespacedConfigMap({ ...named, body: change }, merge));
        expected.push(`ADDED ${name}`, `MODIFIED ${name}`);
        if (number % 3 === 0) {
            await insist(`delete ${name}`, () => core.deleteNamespacedConfigMap(named), 404);
            expected.push(`DELETED ${name}`);
        }
    }
    await killed;
    await eventually('the informer was told of everything', async () => told.length === expected.length || told.length);
    assert.deepEqual(told, expected);
    assert.equal(informer.list(NAMESPACE).length, 40);
    closed = true;
    await informer.stop();
    await ask('start what is missing');
}

const version = await config.makeApiClient(k8s.VersionApi).getCode();
assert.match(version.gitVersion, /^v1\./);
await core.createNamespace({ body: { metadata: { name: NAMESPACE } } });
assert.equal((await core.listNode()).items.length, 3);
await configMaps();
const pod = await deployments();
await streams(pod);
await generic();
await failover();
await core.deleteNamespace({ name: NAMESPACE });
await eventually('the namespace is gone', async () => {
    const { items } = await core.listNamespace();
    return !items.some((item) => item.metadata.name === NAMESPACE) || items.length;
});
input.close();
console.log('the Node.js client is served');

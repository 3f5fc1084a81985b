//! What other people's software reads in our files.

use std::process::Command;

use firnline::HashAlgorithm;

use crate::support::{car, rich, skip};

const SCRIPT: &str = r#"
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import fs from 'node:fs';
const require = createRequire(process.argv[2] + '/');
const load = async name => import(pathToFileURL(require.resolve(name)));
const { CarReader } = await load('@ipld/car');
const cbor = await load('@ipld/dag-cbor');
const pb = await load('@ipld/dag-pb');
const { sha256 } = await load('multiformats/hashes/sha2');
const { CID } = await load('multiformats/cid');
const reader = await CarReader.fromBytes(fs.readFileSync(process.argv[3]));
const blocks = new Map();
for await (const { cid, bytes } of reader.blocks()) {
  const digest = await sha256.digest(bytes);
  if (Buffer.compare(Buffer.from(digest.bytes), Buffer.from(cid.multihash.bytes))) throw new Error('wrong hash ' + cid);
  if (blocks.has(cid.toString())) throw new Error('twice ' + cid);
  blocks.set(cid.toString(), { cid, bytes });
}
const links = value => {
  if (CID.asCID(value)) return [CID.asCID(value)];
  if (value instanceof Uint8Array || value === null || typeof value !== 'object') return [];
  return Object.values(value).flatMap(links);
};
const roots = await reader.getRoots();
if (roots.length !== 1) throw new Error('roots');
const seen = new Set(), order = [];
const walk = cid => {
  const name = cid.toString();
  if (seen.has(name)) return;
  seen.add(name);
  order.push(name);
  const block = blocks.get(name);
  if (!block) throw new Error('missing ' + name);
  if (cid.code === 0x71) {
    const value = cbor.decode(block.bytes);
    if (Buffer.compare(Buffer.from(cbor.encode(value)), Buffer.from(block.bytes))) throw new Error('not canonical ' + name);
    links(value).forEach(walk);
  } else if (cid.code === 0x70) {
    pb.decode(block.bytes).Links.forEach(link => walk(link.Hash));
  } else if (cid.code !== 0x55) throw new Error('codec');
};
walk(roots[0]);
if (JSON.stringify(order) !== JSON.stringify([...blocks.keys()])) throw new Error('the file is not in depth-first order');
console.log(roots[0].toString(), order.length);
"#;

#[tokio::test]
async fn the_reader_of_ipld_follows_every_link() {
    let Some(modules) = std::env::var_os("FIRN_TEST_NODE_MODULES") else {
        skip("the_reader_of_ipld_follows_every_link", "set FIRN_TEST_NODE_MODULES to a node_modules folder with @ipld/car 5.4.7");
        return;
    };
    let (_repository, snapshot) = rich(HashAlgorithm::Sha2_256).await;
    let folder = tempfile::tempdir().unwrap();
    let (script, file) = (folder.path().join("check.mjs"), folder.path().join("version.car"));
    std::fs::write(&script, SCRIPT).unwrap();
    std::fs::write(&file, car(&snapshot).await).unwrap();
    let ran = Command::new("node").arg(&script).arg(&modules).arg(&file).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let blocks = snapshot.plan_car().await.unwrap().summary().blocks;
    assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), format!("{} {blocks}", snapshot.id()));
}

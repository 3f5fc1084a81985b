// Reads a CAR file as the IPLD project's own software does: every hash, no block twice, every link followed from the one root,
// every block reached, in depth-first order, dag-cbor canonical. Prints the root and the number of blocks.
//
// usage, in a folder with node_modules: node --input-type=module -e "$(cat check_car.mjs)" -- /absolute/FILE.car
// needs: @ipld/car 5.4.7, @ipld/dag-cbor, @ipld/dag-pb, multiformats
import fs from 'node:fs';
import { CarReader } from '@ipld/car';
import * as cbor from '@ipld/dag-cbor';
import * as pb from '@ipld/dag-pb';
import { CID } from 'multiformats/cid';
import { sha256 } from 'multiformats/hashes/sha2';
const reader = await CarReader.fromBytes(fs.readFileSync(process.argv[1]));
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

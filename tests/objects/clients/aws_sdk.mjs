// What AWS's SDK for JavaScript does with objects, with its defaults: aws_sdk.mjs URL ACCOUNT USER KEY. It ends with
// signed URLs for a browser, as JSON.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { Readable } from "node:stream";

import {
  CreateBucketCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutBucketCorsCommand,
  PutObjectCommand,
  S3Client,
  paginateListObjectsV2,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

const [url, account, user, key] = process.argv.slice(2);
const s3 = new S3Client({
  endpoint: url,
  region: "us-east-1",
  forcePathStyle: true,
  credentials: { accessKeyId: `${account}:${user}`, secretAccessKey: key },
});
const Bucket = "from-javascript";
const bytes = async (body) => Buffer.from(await body.transformToByteArray());

await s3.send(new CreateBucketCommand({ Bucket }));
const content = randomBytes(3_000_000);
await s3.send(new PutObjectCommand({ Bucket, Key: "ä b", Body: content, Metadata: { colour: "red" } }));
const got = await s3.send(new GetObjectCommand({ Bucket, Key: "ä b", ChecksumMode: "ENABLED" }));
assert.deepEqual(await bytes(got.Body), content);
assert.equal(got.Metadata.colour, "red");
const part = await s3.send(new GetObjectCommand({ Bucket, Key: "ä b", Range: "bytes=10-19" }));
assert.deepEqual(await bytes(part.Body), content.subarray(10, 20));

// A stream whose length nobody knows, in parts.
const large = randomBytes(12_000_000);
const pieces = [];
for (let start = 0; start < large.length; start += 100_000) pieces.push(large.subarray(start, start + 100_000));
await new Upload({ client: s3, params: { Bucket, Key: "large", Body: Readable.from(pieces) } }).done();
assert.equal((await s3.send(new HeadObjectCommand({ Bucket, Key: "large" }))).ContentLength, large.length);
assert.deepEqual(await bytes((await s3.send(new GetObjectCommand({ Bucket, Key: "large" }))).Body), large);

const names = [];
for await (const page of paginateListObjectsV2({ client: s3, pageSize: 1 }, { Bucket })) {
  names.push(...(page.Contents ?? []).map((each) => each.Key));
}
assert.deepEqual(names, ["large", "ä b"]);
await assert.rejects(s3.send(new GetObjectCommand({ Bucket, Key: "none" })), { name: "NoSuchKey" });
const deleted = await s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects: names.map((Key) => ({ Key })) } }));
assert.equal(deleted.Deleted.length, 2);

const rule = { AllowedOrigins: ["http://127.0.0.1:*"], AllowedMethods: ["GET", "PUT"], AllowedHeaders: ["*"] };
await s3.send(new PutBucketCorsCommand({ Bucket, CORSConfiguration: { CORSRules: [rule] } }));
const place = { Bucket, Key: "by a page" };
console.log(
  JSON.stringify({
    put: await getSignedUrl(s3, new PutObjectCommand({ ...place, ContentType: "text/plain" }), { expiresIn: 100 }),
    get: await getSignedUrl(s3, new GetObjectCommand(place), { expiresIn: 100 }),
  }),
);

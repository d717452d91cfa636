import sys, os, hashlib, io, boto3, urllib.request
from botocore.config import Config
from botocore.exceptions import ClientError
url,key=sys.argv[1:3]
s3=boto3.client("s3",endpoint_url=url,aws_access_key_id="main:admin",aws_secret_access_key=key,region_name="us-east-1")
s3.create_bucket(Bucket="bucket")
print([b["Name"] for b in s3.list_buckets()["Buckets"]])
s3.head_bucket(Bucket="bucket"); print(s3.get_bucket_location(Bucket="bucket")["LocationConstraint"])
data=os.urandom(3_000_000)
r=s3.put_object(Bucket="bucket",Key="a/ü x+&.bin",Body=data,Metadata={"colour":"red"},ContentType="a/b")
print({k:v for k,v in r.items() if k!="ResponseMetadata"})
r=s3.get_object(Bucket="bucket",Key="a/ü x+&.bin"); assert r["Body"].read()==data; print(r["Metadata"],r["ContentType"],r["ETag"], r.get("ChecksumCRC32"))
r=s3.get_object(Bucket="bucket",Key="a/ü x+&.bin",Range="bytes=5-10"); assert r["Body"].read()==data[5:11]
for algo in ("CRC32","CRC32C","SHA1","SHA256","CRC64NVME"):
    s3.put_object(Bucket="bucket",Key="c/"+algo,Body=b"x"*1000,ChecksumAlgorithm=algo)
    s3.put_object(Bucket="bucket",Key="c/s"+algo,Body=io.BytesIO(b"x"*1000),ChecksumAlgorithm=algo)
    print(algo, [k for k in s3.head_object(Bucket="bucket",Key="c/"+algo,ChecksumMode="ENABLED") if "Checksum" in k])
for page in s3.get_paginator("list_objects_v2").paginate(Bucket="bucket",PaginationConfig={"PageSize":3}): print([o["Key"] for o in page["Contents"]])
print(s3.list_objects(Bucket="bucket",Delimiter="/",EncodingType="url").get("CommonPrefixes"), s3.list_objects_v2(Bucket="bucket",Prefix="c/",Delimiter="/")["KeyCount"])
s3.copy_object(Bucket="bucket",Key="copied",CopySource={"Bucket":"bucket","Key":"a/ü x+&.bin"})
assert s3.get_object(Bucket="bucket",Key="copied")["Body"].read()==data
big=os.urandom(20_000_000); open("/tmp/gbt/bigf","wb").write(big)
s3.upload_file("/tmp/gbt/bigf","bucket","big")
h=s3.head_object(Bucket="bucket",Key="big"); print(h["ETag"],h["ContentLength"])
s3.download_file("bucket","big","/tmp/gbt/bigd"); assert open("/tmp/gbt/bigd","rb").read()==big
s3.copy({"Bucket":"bucket","Key":"big"},"bucket","big2"); assert s3.get_object(Bucket="bucket",Key="big2")["Body"].read()==big
for sig in ("s3v4","s3"):
    c=boto3.client("s3",endpoint_url=url,aws_access_key_id="main:admin",aws_secret_access_key=key,region_name="us-east-1",config=Config(signature_version=sig))
    u=c.generate_presigned_url("get_object",Params={"Bucket":"bucket","Key":"a/ü x+&.bin","ResponseContentType":"x/y"},ExpiresIn=60)
    a=urllib.request.urlopen(u); assert a.read()==data and a.headers["Content-Type"]=="x/y"; print(sig,u[:120])
    u=c.generate_presigned_url("put_object",Params={"Bucket":"bucket","Key":"presigned"},ExpiresIn=60)
    urllib.request.urlopen(urllib.request.Request(u,data=b"hello",method="PUT",headers={"Content-Type":""} if sig=="s3" else {}))
for f,code in ((lambda: s3.get_object(Bucket="bucket",Key="none"),"NoSuchKey"),(lambda: s3.get_object(Bucket="none",Key="none"),"NoSuchBucket"),(lambda: s3.delete_bucket(Bucket="bucket"),"BucketNotEmpty"),(lambda: s3.put_object(Bucket="bucket",Key="copied",Body=b"",IfNoneMatch="*"),"PreconditionFailed"),(lambda: s3.get_bucket_policy(Bucket="bucket"),"NoSuchBucketPolicy"),(lambda: s3.put_bucket_policy(Bucket="bucket",Policy="{}"),"NotImplemented"),(lambda: s3.put_object(Bucket="bucket",Key="x",Body=b"x",ACL="public-read"),"NotImplemented")):
    try: f(); print("no error",code)
    except ClientError as e: assert e.response["Error"]["Code"]==code,(e,code)
print(s3.delete_objects(Bucket="bucket",Delete={"Objects":[{"Key":"copied"},{"Key":"nothing"}]})["Deleted"])
bad=boto3.client("s3",endpoint_url=url,aws_access_key_id="main:admin",aws_secret_access_key="x",region_name="us-east-1")
try: bad.list_buckets()
except ClientError as e: print(e)
r=boto3.resource("s3",endpoint_url=url,aws_access_key_id="main:admin",aws_secret_access_key=key,region_name="us-east-1")
r.Bucket("bucket").objects.all().delete(); s3.delete_bucket(Bucket="bucket"); print("all")

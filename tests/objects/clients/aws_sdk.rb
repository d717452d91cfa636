# AWS's SDK for Ruby, as Active Storage uses it, and what else sites do with it.
#
# aws_sdk.rb URL ACCOUNT USER KEY FOLDER

require "aws-sdk-s3"
require "digest/md5"
require "net/http"

url, account, user, key, folder = ARGV

def check(holds, what)
  abort "#{what}: not so" unless holds
end

client = Aws::S3::Client.new(
  endpoint: url, access_key_id: "#{account}:#{user}", secret_access_key: key,
  region: "us-east-1", force_path_style: true
)
s3 = Aws::S3::Resource.new(client: client)
bucket = s3.create_bucket(bucket: "ruby")
check s3.buckets.map(&:name) == ["ruby"], "the bucket is listed"

# An upload as Active Storage does it: with the MD5 of the content, its type, and metadata of one's own.
content = Random.bytes(70_000)
object = bucket.object("ab/cd/é +&=.bin")
object.put(
  body: content, content_md5: Digest::MD5.base64digest(content), content_type: "image/png",
  content_disposition: 'inline; filename="é.png"', metadata: { "author" => "me" }
)
check object.exists?, "the object"
check object.etag == "\"#{Digest::MD5.hexdigest(content)}\"", "its ETag"
check object.content_type == "image/png" && object.metadata == { "author" => "me" }, "what is kept beside it"
check object.get.body.read.b == content, "its bytes"
check object.get(range: "bytes=10-19").body.read.b == content[10..19], "a range"
begin
  object.put(body: "other", content_md5: Digest::MD5.base64digest("another"))
  abort "a wrong MD5 was taken"
rescue Aws::S3::Errors::BadDigest
  check object.get.body.read.b == content, "the bytes after a wrong MD5"
end
begin
  bucket.object("nothing").get
  abort "there is no such object"
rescue Aws::S3::Errors::NoSuchKey
  check !bucket.object("nothing").exists?, "nothing"
end

# A large file goes in parts, a stream too; pieces of it come back one after the other.
large = Random.bytes(17_000_000)
path = File.join(folder, "large")
File.binwrite(path, large)
check bucket.object("large").upload_file(path, multipart_threshold: 5 * 1024 * 1024), "upload_file"
streamed = bucket.object("streamed")
streamed.upload_stream(part_size: 5 * 1024 * 1024) { |out| out << large }
["large", "streamed"].each do |name|
  digest = Digest::MD5.new
  bucket.object(name).get { |chunk| digest << chunk }
  check digest.hexdigest == Digest::MD5.hexdigest(large), name
  check bucket.object(name).etag.end_with?('-4"'), "#{name} has four parts"
end
back = File.join(folder, "back")
check bucket.object("large").download_file(back) && File.binread(back) == large, "download_file"

# A browser uploads to a signed URL, and reads from another.
signed = bucket.object("from a page")
headers = { "Content-Type" => "text/plain", "Content-MD5" => Digest::MD5.base64digest("hello") }
put = URI(signed.presigned_url(
  :put, expires_in: 300, content_type: "text/plain", content_md5: headers["Content-MD5"],
  whitelist_headers: ["content-length"], content_length: 5
))
answer = Net::HTTP.start(put.host, put.port) { |http| http.send_request("PUT", put.request_uri, "hello", headers) }
check answer.code == "200", "a PUT to a signed URL: #{answer.code} #{answer.body}"
get = URI(signed.presigned_url(
  :get, expires_in: 300, response_content_disposition: "attachment", response_content_type: "text/x-other"
))
answer = Net::HTTP.get_response(get)
check answer.body == "hello" && answer["Content-Disposition"] == "attachment", "a GET of a signed URL"
check answer["Content-Type"] == "text/x-other", "the type that the URL asks for"
form = bucket.presigned_post(key: "posted", content_length_range: 1..100)
request = Net::HTTP::Post.new(URI(form.url))
request.set_form([*form.fields, ["file", "of a form", { filename: "f.txt" }]], "multipart/form-data")
answer = Net::HTTP.start(put.host, put.port) { |http| http.request(request) }
check answer.code == "204" && bucket.object("posted").get.body.read == "of a form", "a form: #{answer.code} #{answer.body}"

# Copies, listings in pages, all of a prefix.
bucket.object("copy").copy_from(object)
check bucket.object("copy").get.body.read.b == content, "a copy"
bucket.object("moved").copy_from(bucket.object("large"), multipart_copy: true)
check bucket.object("moved").content_length == large.size, "a copy in parts"
25.times { |n| bucket.object("many/#{n}").put(body: "") }
names = client.list_objects_v2(bucket: "ruby", prefix: "many/", max_keys: 10).flat_map { |page| page.contents.map(&:key) }
check names == (0...25).map { |n| "many/#{n}" }.sort, "a listing in pages"
folders = client.list_objects_v2(bucket: "ruby", delimiter: "/").common_prefixes.map(&:prefix)
check folders == ["ab/", "many/"], "folders"
bucket.objects(prefix: "many/").batch_delete!
check bucket.objects(prefix: "many/").count == 0, "all of a prefix are deleted"
bucket.clear!
bucket.delete
check !bucket.exists?, "the bucket is gone"
puts "all steps"

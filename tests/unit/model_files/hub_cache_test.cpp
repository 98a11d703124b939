// Models by folder and by name in a made-up Hugging Face cache.
#define BOOST_TEST_MODULE model_files
#include <boost/test/unit_test.hpp>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "../scratch.h"
#include "pva/core/error.h"
#include "pva/model/hub_cache.h"

namespace fs = std::filesystem;
using namespace pva::model;

namespace {

const std::string first_hash(40, 'a');
const std::string second_hash = "0123456789abcdef0123456789abcdef01234567";

/// A cache whose files are links into blobs/, as huggingface_hub makes them.
struct Cache {
    Scratch folder;
    fs::path root = folder.path;

    HubEnvironment environment() const { return {.hf_hub_cache = root.string(), .home = "/nonexistent"}; }

    void file(const std::string& repository, const std::string& hash, const std::string& name,
              const std::string& text = "{}") const {
        const fs::path folder = root / repository;
        const std::string blob = hash + "-" + name;
        fs::create_directories(folder / "blobs");
        fs::create_directories(folder / "snapshots" / hash);
        std::ofstream(folder / "blobs" / blob) << text;
        fs::create_symlink("../../blobs/" + blob, folder / "snapshots" / hash / name);
    }
    void ref(const std::string& repository, const std::string& revision, const std::string& hash) const {
        const fs::path path = root / repository / "refs" / revision;
        fs::create_directories(path.parent_path());
        std::ofstream(path) << hash;
    }
    void model(const std::string& repository, const std::string& hash) const {
        for (const char* name : {"config.json", "model.safetensors", "tokenizer.json"})
            file(repository, hash, name);
    }
    std::string snapshot(const std::string& repository, const std::string& hash) const {
        return (root / repository / "snapshots" / hash).string();
    }
};

/// The message of the refusal, or an empty text when there is none.
template <class E = pva::InputError>
std::string refusal(const std::string& model, const HubEnvironment& environment) {
    try {
        resolve_model(model, environment);
    } catch (const E& error) {
        return error.what();
    }
    return {};
}

void says(const std::string& message, const std::vector<std::string>& parts) {
    BOOST_TEST_CONTEXT(message) {
        for (const std::string& part : parts)
            BOOST_TEST(message.find(part) != std::string::npos, part);
    }
}

const std::string gemma = "models--google--gemma-2-2b";

}  // namespace

BOOST_AUTO_TEST_CASE(the_cache_folder_follows_the_variables_in_order) {
    HubEnvironment environment{.home = "/users/u"};
    const auto is = [&](const std::string& folder, const std::string& decided_by) {
        const HubCache cache = hub_cache(environment);
        BOOST_TEST(cache.folder == folder);
        BOOST_TEST(cache.decided_by == decided_by);
    };
    is("/users/u/.cache/huggingface/hub", "the default");
    environment.xdg_cache_home = "/x";
    is("/x/huggingface/hub", "XDG_CACHE_HOME");
    environment.hf_home = "/h";
    is("/h/hub", "HF_HOME");
    environment.huggingface_hub_cache = "/old";
    is("/old", "HUGGINGFACE_HUB_CACHE");
    environment.hf_hub_cache = "/new";
    is("/new", "HF_HUB_CACHE");
}

BOOST_AUTO_TEST_CASE(the_process_environment_is_read_and_expanded) {
    ::setenv("HOME", "/users/u", 1);
    ::setenv("PVA_TEST_SCRATCH", "/scratch/u", 1);
    ::setenv("HF_HUB_CACHE", "$PVA_TEST_SCRATCH/hub", 1);
    ::setenv("HUGGINGFACE_HUB_CACHE", "${PVA_TEST_SCRATCH}/a$PVA_TEST_UNKNOWN${PVA_TEST_SCRATCH", 1);
    ::setenv("HF_HOME", "~/hf", 1);
    ::setenv("XDG_CACHE_HOME", "", 1);
    const HubEnvironment environment = hub_environment_from_process();
    BOOST_TEST(environment.home == "/users/u");
    BOOST_TEST(environment.hf_hub_cache.value() == "/scratch/u/hub");
    BOOST_TEST(environment.huggingface_hub_cache.value() == "/scratch/u/a$PVA_TEST_UNKNOWN${PVA_TEST_SCRATCH");
    BOOST_TEST(environment.hf_home.value() == "/users/u/hf");
    BOOST_TEST(environment.xdg_cache_home.value() == "");
    ::unsetenv("HF_HUB_CACHE");
    ::unsetenv("HUGGINGFACE_HUB_CACHE");
    ::setenv("HF_HOME", "~", 1);
    BOOST_TEST(!hub_environment_from_process().hf_hub_cache);
    BOOST_TEST(hub_environment_from_process().hf_home.value() == "/users/u");
    ::setenv("HF_HOME", "~no_such_user_of_pva/x", 1);
    BOOST_TEST(hub_environment_from_process().hf_home.value() == "~no_such_user_of_pva/x");
}

BOOST_AUTO_TEST_CASE(a_folder_is_taken_as_it_is) {
    const Cache cache;
    fs::create_directories(cache.root / "plain" / "my-model");
    const std::string folder = (cache.root / "plain" / "my-model").string();
    for (const std::string& spelling : {folder, folder + "/", folder + "/."}) {
        const ResolvedModel resolved = resolve_model(spelling, cache.environment());
        BOOST_TEST(resolved.folder == spelling);
        BOOST_TEST(resolved.name == "my-model");
        BOOST_TEST(resolved.revision == "");
        BOOST_TEST(resolved.notes.empty());
    }
    cache.model(gemma, first_hash);
    for (const char* end : {"", "/"}) {
        const ResolvedModel resolved = resolve_model(cache.snapshot(gemma, first_hash) + end, cache.environment());
        BOOST_TEST(resolved.name == "gemma-2-2b");
        BOOST_TEST(resolved.revision == first_hash);
    }
}

BOOST_AUTO_TEST_CASE(a_folder_comes_before_the_cache) {
    const Cache cache;
    cache.model(gemma, first_hash);
    cache.ref(gemma, "main", first_hash);
    const fs::path before = fs::current_path();
    fs::create_directories(cache.root / "work" / "google" / "gemma-2-2b");
    fs::current_path(cache.root / "work");
    const ResolvedModel resolved = resolve_model("google/gemma-2-2b", cache.environment());
    fs::current_path(before);
    BOOST_TEST(resolved.folder == "google/gemma-2-2b");
    BOOST_TEST(resolved.revision == "");
}

BOOST_AUTO_TEST_CASE(names_with_and_without_owner) {
    const Cache cache;
    cache.model(gemma, first_hash);
    cache.ref(gemma, "main", first_hash);
    cache.model("models--gpt2", second_hash);
    cache.ref("models--gpt2", "main", second_hash + "\n");
    const ResolvedModel resolved = resolve_model("google/gemma-2-2b", cache.environment());
    BOOST_TEST(resolved.folder == cache.snapshot(gemma, first_hash));
    BOOST_TEST(resolved.name == "gemma-2-2b");
    BOOST_TEST(resolved.revision == first_hash);
    BOOST_TEST(resolved.notes.empty());
    BOOST_TEST(resolve_model("gpt2", cache.environment()).revision == second_hash);
    BOOST_TEST(resolve_model("gpt2", cache.environment()).name == "gpt2");
}

BOOST_AUTO_TEST_CASE(revisions) {
    const Cache cache;
    for (const std::string& hash : {first_hash, second_hash})
        cache.model(gemma, hash);
    cache.ref(gemma, "main", first_hash);
    cache.ref(gemma, "refs/pr/7", second_hash);
    cache.ref(gemma, "step1000", second_hash);
    cache.ref(gemma, "empty", "");
    cache.ref(gemma, "outside", "../../etc");
    const std::string not_there(40, 'b');
    cache.ref(gemma, "ahead", not_there);
    const auto revision = [&](const std::string& wanted) {
        return resolve_model("google/gemma-2-2b@" + wanted, cache.environment()).revision;
    };
    BOOST_TEST(revision("main") == first_hash);
    BOOST_TEST(revision("step1000") == second_hash);
    BOOST_TEST(revision("refs/pr/7") == second_hash);
    BOOST_TEST(revision(second_hash) == second_hash);
    says(refusal("google/gemma-2-2b@v2", cache.environment()),
         {"google/gemma-2-2b@v2", "'v2'", "ahead, empty, main, outside, refs/pr/7, step1000",
          second_hash + ", " + first_hash, "--revision v2"});
    says(refusal("google/gemma-2-2b@" + not_there, cache.environment()),
         {"no snapshot of commit " + not_there, first_hash});
    says(refusal("google/gemma-2-2b@ahead", cache.environment()), {"no snapshot of commit " + not_there});
    says(refusal("google/gemma-2-2b@empty", cache.environment()), {"refs/empty", "no commit hash"});
    says(refusal("google/gemma-2-2b@outside", cache.environment()), {"refs/outside", "no commit hash"});
    says(refusal("google/gemma-2-2b@refs", cache.environment()), {"does not know revision 'refs'"});
}

BOOST_AUTO_TEST_CASE(without_refs_main) {
    const Cache cache;
    cache.model(gemma, first_hash);
    const ResolvedModel resolved = resolve_model("google/gemma-2-2b", cache.environment());
    BOOST_TEST(resolved.revision == first_hash);
    BOOST_TEST(resolved.notes.size() == 1u);
    says(resolved.notes.at(0), {"google/gemma-2-2b", first_hash});
    says(refusal("google/gemma-2-2b@main", cache.environment()),
         {"does not know revision 'main'"});  // asked for by name
    cache.model(gemma, second_hash);
    says(refusal("google/gemma-2-2b", cache.environment()), {"Known revisions: none", second_hash + ", " + first_hash});
    fs::create_directories(cache.root / "models--a--b");
    says(refusal("a/b", cache.environment()), {"snapshots: none"});
}

BOOST_AUTO_TEST_CASE(an_absent_model_says_how_to_get_it) {
    const Cache cache;
    says(refusal("google/gemma-2-2b", cache.environment()),
         {"model google/gemma-2-2b", gemma, cache.root.string(), "HF_HUB_CACHE",
          "hf download google/gemma-2-2b --include \"*.json\" --include \"model*.safetensors\" --include "
          "\"tokenizer*\"\n",
          "huggingface-cli download google/gemma-2-2b --include \"*.json\" \"model*.safetensors\" \"tokenizer*\"",
          "hf auth login"});
    says(refusal("google/gemma-2-2b@v1", cache.environment()),
         {"hf download google/gemma-2-2b --revision v1 --include"});
    says(refusal("a/b", {.hf_home = "/nonexistent/hf", .home = "/nonexistent"}),
         {"/nonexistent/hf/hub (by HF_HOME)", "does not exist"});
    says(refusal("a/b", {.home = "/nonexistent"}), {"/nonexistent/.cache/huggingface/hub (by the default)"});
}

BOOST_AUTO_TEST_CASE(what_cannot_be_a_name_is_a_usage_error) {
    const Cache cache;
    for (const std::string& model :
         {std::string(), std::string("/no/such/folder"), std::string("./model"), std::string("../model"),
          std::string("a/b/c"), std::string("a--b/c"), std::string("a/b..c"), std::string("-a/b"), std::string("a/.b"),
          std::string("a/b."), std::string("a b/c"), std::string("a/b.git"), std::string("a/b@"),
          std::string("a/b@../x"), std::string("a/b@/x"), std::string("a/b@x//y"), std::string("a/b@x y"),
          std::string("a/") + std::string(97, 'b')}) {
        BOOST_TEST(!refusal<pva::InputError>(model, cache.environment()).empty(), model);
    }
    std::ofstream(cache.root / "weights.bin") << "x";
    says(refusal<pva::InputError>((cache.root / "weights.bin").string(), cache.environment()), {"is a file"});
}

BOOST_AUTO_TEST_CASE(incomplete_snapshots_are_named) {
    const auto fault = [](const std::vector<std::string>& files, const auto& change) {
        const Cache cache;
        cache.ref(gemma, "main", first_hash);
        fs::create_directories(cache.snapshot(gemma, first_hash));
        for (const std::string& name : files) {
            const bool index = name.ends_with("index.json");
            cache.file(
                gemma, first_hash, name,
                index
                    ? R"({"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors","c":"model-2.safetensors"}})"
                    : "{}");
        }
        change(cache);
        return refusal("google/gemma-2-2b", cache.environment());
    };
    const auto nothing = [](const Cache&) {};
    const std::string index = "model.safetensors.index.json";
    BOOST_TEST(fault({"config.json", "model.safetensors", "tokenizer.json"}, nothing) == "");
    BOOST_TEST(fault({"config.json", "model.safetensors", "tokenizer.model"}, nothing) == "");
    BOOST_TEST(
        fault({"config.json", index, "model-1.safetensors", "model-2.safetensors", "tokenizer.model"}, nothing) == "");
    says(fault({}, nothing),
         {"incomplete download",
          "config.json, model.safetensors or model.safetensors.index.json, tokenizer.json or tokenizer.model"});
    says(fault({"config.json", "model.safetensors"}, nothing), {"(missing: tokenizer.json or tokenizer.model)"});
    says(fault({"config.json", index, "model-1.safetensors", "tokenizer.model"}, nothing),
         {"(missing: model-2.safetensors)", first_hash});
    says(fault({"config.json", "tokenizer.json", "pytorch_model.bin"}, nothing),
         {"pytorch_model*.bin", "safetensors only"});
    says(fault({"config.json", "model.safetensors", "tokenizer.json"},
               [](const Cache& cache) {
                   fs::remove(cache.root / gemma / "blobs" / (first_hash + "-model.safetensors"));
               }),
         {"links whose file is gone: model.safetensors (to ../../blobs/" + first_hash + "-model.safetensors)"});
    says(fault({"config.json", index, "model-1.safetensors", "model-2.safetensors", "tokenizer.model"},
               [](const Cache& cache) {
                   fs::remove(cache.root / gemma / "blobs" / (first_hash + "-model-2.safetensors"));
               }),
         {"links whose file is gone: model-2.safetensors (to"});
    // One tokenizer is enough, whatever became of the other; a damaged index is left to the reader of the weights.
    BOOST_TEST(fault({"config.json", "model.safetensors", "tokenizer.json", "tokenizer.model"}, [](const Cache& cache) {
                   fs::remove(cache.root / gemma / "blobs" / (first_hash + "-tokenizer.json"));
               }) == "");
    BOOST_TEST(fault({"config.json", index, "tokenizer.json"}, [](const Cache& cache) {
                   std::ofstream(cache.root / gemma / "blobs" / (first_hash + "-model.safetensors.index.json")) << "{";
               }) == "");
}

BOOST_AUTO_TEST_CASE(names_of_folders) {
    BOOST_TEST(name_of_folder("/data/pythia-70m") == "pythia-70m");
    BOOST_TEST(name_of_folder("/data/pythia-70m/") == "pythia-70m");
    BOOST_TEST(name_of_folder("/data/x/../pythia-70m/.") == "pythia-70m");
    BOOST_TEST(name_of_folder("/c/models--google--gemma-2-2b/snapshots/0123") == "gemma-2-2b");
    BOOST_TEST(name_of_folder("/c/models--gpt2/snapshots/0123/") == "gpt2");
    BOOST_TEST(name_of_folder("/c/other/snapshots/0123") == "0123");
}

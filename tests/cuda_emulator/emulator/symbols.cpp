#include "cuda_emulator/emulator/symbols.h"

#include <cxxabi.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <unordered_map>

#include "cuda_emulator/emulator/report.h"

namespace emulator {
namespace {

// This library: its file, where it is loaded, and the function symbols of its symbol table.
struct Image {
  std::string path = "/proc/self/exe";
  uintptr_t base = 0, begin = 0, end = 0;
  std::map<uintptr_t, std::string> functions;  // by address in the file, mangled

  Image() {
    dl_iterate_phdr([](dl_phdr_info* info, size_t, void* p) { return static_cast<Image*>(p)->take(*info); }, this);
    read_symbols();
  }

  int take(const dl_phdr_info& info) {
    const auto here = reinterpret_cast<uintptr_t>(&function_name);
    uintptr_t low = UINTPTR_MAX, high = 0;
    for (int i = 0; i < info.dlpi_phnum; ++i) {
      if (info.dlpi_phdr[i].p_type != PT_LOAD) continue;
      low = std::min<uintptr_t>(low, info.dlpi_addr + info.dlpi_phdr[i].p_vaddr);
      high = std::max<uintptr_t>(high, info.dlpi_addr + info.dlpi_phdr[i].p_vaddr + info.dlpi_phdr[i].p_memsz);
    }
    if (here < low || here >= high) return 0;
    base = info.dlpi_addr;
    begin = low;
    end = high;
    if (info.dlpi_name && *info.dlpi_name) path = info.dlpi_name;
    return 1;
  }

  void read_symbols() {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (file < 0 || fstat(file, &status) != 0) return;
    void* bytes = mmap(nullptr, size_t(status.st_size), PROT_READ, MAP_PRIVATE, file, 0);
    close(file);
    if (bytes == MAP_FAILED) return;
    const auto* data = static_cast<const char*>(bytes);
    const auto* header = reinterpret_cast<const ElfW(Ehdr)*>(data);
    const auto* sections = reinterpret_cast<const ElfW(Shdr)*>(data + header->e_shoff);
    for (int i = 0; i < header->e_shnum; ++i) {
      if (sections[i].sh_type != SHT_SYMTAB) continue;
      const char* names = data + sections[sections[i].sh_link].sh_offset;
      const auto* symbol = reinterpret_cast<const ElfW(Sym)*>(data + sections[i].sh_offset);
      for (size_t k = 0; k < sections[i].sh_size / sizeof *symbol; ++k)
        if ((symbol[k].st_info & 15) == STT_FUNC && symbol[k].st_value)
          functions[symbol[k].st_value] = names + symbol[k].st_name;
    }
    munmap(bytes, size_t(status.st_size));
  }
};
const Image& image() {
  static const Image& the_image = *new Image;
  return the_image;
}

constexpr const char* kTag = "[abi:cuda_kernel]";

std::string with_tags(const std::string& mangled) {
  int status = 0;
  char* text = abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status);
  const std::string name = status == 0 && text ? text : mangled;
  std::free(text);
  return name;
}
std::string demangled(const std::string& mangled) {
  std::string name = with_tags(mangled);
  for (size_t at; (at = name.find(kTag)) != std::string::npos;) name.erase(at, std::strlen(kTag));
  return name;
}

// Is this a function with the tag, and not something inside of one or instantiated with something of it?
bool is_kernel(const std::string& mangled) {
  if (mangled.find("B11cuda_kernel") == std::string::npos || mangled.find('.') != std::string::npos) return false;
  const std::string name = with_tags(mangled);
  int depth = 0;
  bool tagged = false;
  for (size_t i = 0; i < name.size(); ++i) {
    if (depth == 0 && name.compare(i, std::strlen(kTag), kTag) == 0) tagged = true;
    if (name[i] == '<' || name[i] == '(') ++depth;
    if (name[i] == '>' || name[i] == ')') --depth;
    if (tagged && depth == 0 && name[i] == ')') return i + 1 == name.size();  // the end of the parameters
  }
  return false;
}

// "/a/b/c.cu:12 (discriminator 3)" -> "c.cu:12"; empty for the emulator's own headers
std::string short_place(std::string line) {
  if (const size_t at = line.find(" (disc"); at != std::string::npos) line.erase(at);
  const size_t slash = line.rfind('/');
  if (slash == std::string::npos) return line.compare(0, 2, "??") == 0 ? std::string() : line;
  const size_t colon = line.rfind(':');
  const std::string folder = line.substr(0, slash);
  const std::string own = "/cuda_emulator";
  if (folder.size() >= own.size() && folder.compare(folder.size() - own.size(), own.size(), own) == 0 &&
      line.compare(colon - 2, 2, ".h") == 0)
    return {};
  return line.substr(slash + 1);
}

}  // namespace

std::string function_name(const void* address) {
  const auto found = image().functions.find(reinterpret_cast<uintptr_t>(address) - image().base);
  return found == image().functions.end() ? format("function %p", address) : demangled(found->second);
}

std::vector<std::string> kernel_names() {
  std::vector<std::string> names;
  for (const auto& [address, name] : image().functions)
    if (is_kernel(name)) names.push_back(demangled(name));
  std::sort(names.begin(), names.end());
  return names;
}

std::string short_name(const std::string& name) {
  std::string s = name;
  const std::string anonymous = "(anonymous namespace)::";
  for (size_t at; (at = s.find(anonymous)) != std::string::npos;) s.erase(at, anonymous.size());
  int depth = 0;
  size_t end = s.size(), begin = 0;
  for (size_t i = 0; i < s.size(); ++i) {
    if (s[i] == '<') ++depth;
    if (s[i] == '>') --depth;
    if (depth == 0 && s[i] == ' ' && i < end) begin = i + 1;
    if (depth == 0 && s[i] == '(') {
      end = i;
      break;
    }
  }
  return s.substr(begin, end - begin);
}

std::string source_line(const void* pc) {
  static auto& known = *new std::unordered_map<const void*, std::string>;
  std::string& text = known[pc];
  if (!text.empty()) return text;
  const uintptr_t address = reinterpret_cast<uintptr_t>(pc) - 1 - image().base;
  const std::string command =
      format("addr2line -i -e '%s' %lx 2>/dev/null", image().path.c_str(), (unsigned long)address);
  if (FILE* pipe = popen(command.c_str(), "r")) {
    char line[1024];
    while (fgets(line, sizeof line, pipe)) {
      line[std::strcspn(line, "\n")] = 0;
      const std::string place = short_place(line);
      if (!place.empty()) text += (text.empty() ? "" : " < ") + place;
    }
    pclose(pipe);
  }
  if (text.empty()) text = format("library + 0x%lx", (unsigned long)address);
  return text;
}

bool in_this_library(const void* p) {
  const auto address = reinterpret_cast<uintptr_t>(p);
  return address >= image().begin && address < image().end;
}

}  // namespace emulator

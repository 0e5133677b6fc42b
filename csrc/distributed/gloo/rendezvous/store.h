// Declarations only: libtorch has Gloo inside and ships its own headers without those of Gloo,
// which they include. The classes have the size that the headers need to know of: none.
#ifndef EWE_GLOO_STORE_H
#define EWE_GLOO_STORE_H

#include <chrono>
#include <string>
#include <vector>

namespace gloo::rendezvous {
class Store {
  public:
    virtual ~Store();
    virtual void set(const std::string &key, const std::vector<char> &value) = 0;
    virtual std::vector<char> get(const std::string &key) = 0;
    virtual void wait(const std::vector<std::string> &keys) = 0;
    virtual void wait(const std::vector<std::string> &keys, const std::chrono::milliseconds &timeout);
};
}  // namespace gloo::rendezvous

#endif

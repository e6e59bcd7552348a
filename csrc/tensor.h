// What a torch tensor is and where it lies, read without libtorch: through the C exchange API of DLPack 1.3
// (https://dmlc.github.io/dlpack/latest), a table of C functions that torch, from version 2.10, keeps on its tensor
// class. A look takes 60 ns and tells everything; Python takes as long for each attribute.
#pragma once
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

namespace mmr {

// DLPack's binary interface, as far as it is used here.
namespace dlpack {

enum class Code : uint8_t { signed_int = 0, floating = 2, bfloat = 4 };
constexpr int32_t cpu = 1;

struct Device {
    int32_t type;
    int32_t index;
    bool operator==(const Device &other) const { return type == other.type && index == other.index; }
};

struct DataType {
    Code code;
    uint8_t bits;
    uint16_t lanes;
    bool is(Code wanted, int wanted_bits) const { return code == wanted && bits == wanted_bits && lanes == 1; }
};

struct Tensor {
    void *data;
    Device device;
    int32_t dimensions;
    DataType dtype;
    int64_t *shape;
    int64_t *strides;
    uint64_t byte_offset;
};

struct ExchangeAPI {
    uint32_t major, minor;
    ExchangeAPI *previous;
    void *managed_tensor_allocator;
    void *managed_tensor_from_py_object;
    void *managed_tensor_to_py_object;
    int (*tensor_from_py_object)(void *object, Tensor *out);  // 0, or -1 and a Python exception is set
    void *current_work_stream;
};

}  // namespace dlpack

// A tensor, borrowed for the call that it was passed to, or None.
struct Tensor : dlpack::Tensor {
    bool given;

    template <class T>
    T *pointer() const {
        return data ? reinterpret_cast<T *>(static_cast<char *>(data) + byte_offset) : nullptr;
    }

    int64_t elements() const {
        int64_t product = 1;
        for (int32_t d = 0; d < dimensions; ++d) product *= shape[d];
        return product;
    }

    bool contiguous() const {
        int64_t stride = 1;
        for (int32_t d = dimensions - 1; d >= 0; --d) {
            if (shape[d] != 1 && strides[d] != stride) return elements() == 0;
            stride *= shape[d];
        }
        return true;
    }

    bool is_int64() const { return dtype.is(dlpack::Code::signed_int, 64); }
    bool is_float32() const { return dtype.is(dlpack::Code::floating, 32); }
    bool is_embedding_dtype() const {
        return is_float32() || dtype.is(dlpack::Code::floating, 16) || dtype.is(dlpack::Code::bfloat, 16);
    }
};

// torch's tensor class and its table; every module that reads tensors has its own, set as it is imported.
struct TensorClass {
    PyTypeObject *type = nullptr;
    const dlpack::ExchangeAPI *exchange = nullptr;

    static TensorClass &get() {
        static TensorClass torch;
        return torch;
    }

    // Throws ImportError where torch is older.
    static void import() {
        namespace py = pybind11;
        const py::object type = py::module_::import("torch").attr("Tensor");
        if (!py::hasattr(type, "__dlpack_c_exchange_api__"))
            throw py::import_error("torch older than 2.10, whose tensors have no __dlpack_c_exchange_api__");
        const py::capsule table = type.attr("__dlpack_c_exchange_api__");
        const auto *exchange = table.get_pointer<const dlpack::ExchangeAPI>();
        if (exchange->major != 1)
            throw py::import_error("torch's DLPack has version " + std::to_string(exchange->major) + ", not 1");
        get().exchange = exchange;
        get().type = reinterpret_cast<PyTypeObject *>(type.ptr());
    }

    // False, and a Python exception is set, for a tensor whose memory DLPack can't describe.
    bool read(PyObject *object, Tensor &out) const {
        return out.given = exchange->tensor_from_py_object(object, &out) == 0;
    }
};

}  // namespace mmr

namespace pybind11::detail {

// Passes a torch.Tensor or None to a function that takes mmr::Tensor.
template <>
struct type_caster<mmr::Tensor> {
    PYBIND11_TYPE_CASTER(mmr::Tensor, const_name("torch.Tensor | None"));

    bool load(handle source, bool) {
        value = {};
        if (source.is_none()) return true;
        if (!PyObject_TypeCheck(source.ptr(), mmr::TensorClass::get().type)) return false;
        if (!mmr::TensorClass::get().read(source.ptr(), value)) throw error_already_set();
        return true;
    }
};

}  // namespace pybind11::detail

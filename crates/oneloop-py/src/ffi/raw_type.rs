//! Native subclasses of Python and C types, with a Rust payload behind the base's own fields.
//!
//! A PyO3 class cannot inherit both a native layout and `asyncio.Handle` or `asyncio.Transport`; this
//! file builds such types from a short definition. The payload lies after the base's `tp_basicsize`,
//! and four slots are ours:
//!
//! * **`tp_free`** drops the payload. `tp_dealloc` is mostly left to CPython: below a Python class it is
//!   `subtype_dealloc`, which looks for the first *different* deallocator among the bases; one of our
//!   own that called it would be found first, and recurse for ever. Every deallocator ends in
//!   `tp_free`, below a C base too. It also makes `object.__class__ = …` fail ("deallocator differs").
//!   A type that keeps its freed objects has a deallocator of its own (`dealloc`), which calls neither.
//! * **`tp_traverse`** and **`tp_clear`** visit the payload and what a C base owns. Those of a Python
//!   class (`subtype_traverse`, `subtype_clear`) are passed over for the same reason as above, so what
//!   somebody stores into the *base's* `__slots__` by its own descriptor is not seen by the collector:
//!   it may leak in a cycle, and that is all.
//! * **`tp_alloc`** refuses. Only [`RawType::make`] allocates, and it writes the payload before anything
//!   else can see the object; so there is never one without its payload, even if somebody assigns
//!   `__new__` to the type.
//!
//!
//! A definition may ask for *open* instances, with a `__dict__` and weak references. Both are fields of our own before the payload, announced
//! by `__dictoffset__` and `__weaklistoffset__`, the one way that all of CPython 3.11 to 3.15 share: `subtype_dealloc` clears them, and
//! our traverse and clear see the dictionary. (A managed dictionary has private functions only on 3.11; a Python base class without
//! `__slots__` has one too, which its traverse, passed over here, would have to show.)
//!
//! The types cannot be subclassed (a Python subclass would replace `tp_free`) nor instantiated from
//! Python; they are not immutable, which 3.14 refuses below a mutable base.

mod dealloc;
mod nesting;
mod reuse;

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::mem::offset_of;
use std::ptr;
use std::sync::OnceLock;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyObject, PyTypeObject};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};

pub(crate) use self::reuse::FreeList;
use super::method::{Attribute, Method, Special};
use super::{call, entry, error};

/// How many freed objects a type keeps that keeps any: as many as a busy loop has at once.
const KEPT: usize = 1024;

/// What a native type keeps behind its base's fields.
///
/// `Send`, since the object may be freed on any thread that holds the GIL.
pub(crate) trait Payload: Send + 'static {
    /// Where freed objects of the type wait to be made again; `None` if none are kept.
    fn freed() -> Option<&'static FreeList>
    where
        Self: Sized,
    {
        None
    }

    /// Shows every Python object that it owns to the garbage collector. Runs no Python code.
    ///
    /// # Errors
    /// The visitor's wish to stop, passed on.
    fn traverse(&self, visit: &Visit<'_>) -> Result<(), Halt>;

    /// Lets go of every Python object that it owns, and stays valid: the object may be used again by a
    /// finalizer of the same cycle. Called before the payload is dropped, too.
    fn clear(&self, py: Python<'_>);

    /// Lets go of everything, with the GIL in hand whatever PyO3's own count of attachments says. The object is gone already.
    #[inline]
    fn release(self, py: Python<'_>)
    where
        Self: Sized,
    {
        self.clear(py);
    }
}

/// The garbage collector's visitor.
pub(crate) struct Visit<'a> {
    function: ffi::visitproc,
    argument: *mut c_void,
    scope: PhantomData<&'a ()>,
}

/// The collector asked to stop visiting.
pub(crate) struct Halt(c_int);

impl Visit<'_> {
    /// Visits one owned reference.
    ///
    /// # Errors
    /// The collector's wish to stop.
    pub(crate) fn object(&self, object: &Py<PyAny>) -> Result<(), Halt> {
        self.pointer(object.as_ptr())
    }

    fn pointer(&self, object: *mut PyObject) -> Result<(), Halt> {
        // SAFETY: function and argument come from the collector's own call, which is still on the stack.
        match unsafe { (self.function)(object, self.argument) } {
            0 => Ok(()),
            code => Err(Halt(code)),
        }
    }
}

/// What a type is called and can do.
pub(crate) struct Definition<P> {
    /// The dotted name, module first.
    pub(crate) name: &'static CStr,
    /// The docstring.
    pub(crate) doc: &'static CStr,
    /// The methods.
    pub(crate) methods: Vec<Method<P>>,
    /// The attributes.
    pub(crate) attributes: Vec<Attribute<P>>,
    /// The methods that CPython calls by a slot of the type.
    pub(crate) special: Vec<Special<P>>,
    /// Whether instances have a `__dict__` and can be weakly referenced.
    pub(crate) is_open: bool,
}

/// A native type whose instances carry a `P`.
pub(crate) struct RawType<P> {
    class: Py<PyType>,
    payload: PhantomData<fn() -> P>,
}

impl<P: Payload> RawType<P> {
    /// Builds the type below `base`. Done once per interpreter: the tables are never freed, since
    /// descriptors point into them for as long as anybody keeps one.
    ///
    /// # Errors
    /// `TypeError` if the base cannot carry a payload, and what CPython says while making the type.
    pub(crate) fn build(base: &Bound<'_, PyType>, definition: Definition<P>) -> PyResult<Self> {
        const {
            assert!(
                align_of::<P>() <= align_of::<usize>(),
                "CPython's allocator promises no more"
            )
        };
        let py = base.py();
        let inherited = Inherited::of(py)?;
        inherited.accept(base)?;
        let freed = match P::freed() {
            Some(freed) if !definition.is_open && size_of::<P>() >= size_of::<usize>() => {
                dealloc::SlotsOnly::of(base, inherited.traverse)?.map(|_| freed)
            }
            _ => None,
        };

        let mut methods: Vec<_> = definition
            .methods
            .into_iter()
            .map(|method| method.0)
            .collect();
        methods.push(ffi::PyMethodDef::zeroed());
        let mut attributes: Vec<_> = definition
            .attributes
            .into_iter()
            .map(|attribute| attribute.0)
            .collect();
        if definition.is_open {
            attributes.push(dict_attribute());
        }
        attributes.push(ffi::PyGetSetDef::default());

        // SAFETY: `base` keeps the type alive, and a type's basicsize never changes.
        let base_size = unsafe { (*base.as_type_ptr()).tp_basicsize }.cast_unsigned();
        let openness = base_size.next_multiple_of(align_of::<Openness>());
        let members = match definition.is_open {
            true => Openness::members(openness),
            false => Vec::new(),
        };
        let end = match definition.is_open {
            true => openness + size_of::<Openness>(),
            false => base_size,
        };
        let size = end.next_multiple_of(align_of::<P>()) + size_of::<P>();

        let mut slots = vec![
            slot(ffi::Py_tp_doc, definition.doc.as_ptr().cast_mut().cast()),
            slot(ffi::Py_tp_methods, methods.leak().as_mut_ptr().cast()),
            slot(ffi::Py_tp_getset, attributes.leak().as_mut_ptr().cast()),
            slot(
                ffi::Py_tp_alloc,
                refuse_alloc as ffi::allocfunc as *mut c_void,
            ),
            slot(ffi::Py_tp_free, free::<P> as ffi::freefunc as *mut c_void),
            slot(
                ffi::Py_tp_traverse,
                traverse::<P> as ffi::traverseproc as *mut c_void,
            ),
            slot(ffi::Py_tp_clear, clear::<P> as ffi::inquiry as *mut c_void),
        ];
        if definition.is_open {
            let members = members.leak().as_mut_ptr();
            slots.push(slot(ffi::Py_tp_members, members.cast()));
        }
        if freed.is_some() {
            let dealloc = dealloc::dealloc::<P> as ffi::destructor;
            slots.push(slot(ffi::Py_tp_dealloc, dealloc as *mut c_void));
        }
        slots.extend(definition.special.into_iter().map(|special| special.0));
        slots.push(ffi::PyType_Slot::default());
        let flags = ffi::Py_TPFLAGS_DEFAULT
            | ffi::Py_TPFLAGS_HAVE_GC
            | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
        let mut spec = ffi::PyType_Spec {
            name: definition.name.as_ptr().cast::<c_char>(),
            basicsize: size as c_int,
            itemsize: 0,
            flags: flags as c_uint,
            slots: slots.as_mut_ptr(),
        };
        // SAFETY: the spec and its zero-ended slots are complete and live until the call returns; what the
        // type keeps pointing to (name and tables) is static or leaked. The result is a new type or NULL.
        let class = unsafe { ffi::PyType_FromSpecWithBases(&raw mut spec, base.as_ptr()) };
        // SAFETY: as said, a new reference or NULL with an exception set.
        let class =
            unsafe { Bound::from_owned_ptr_or_opt(py, class) }.ok_or_else(|| error::fetch(py))?;
        if let Some(freed) = freed {
            freed.open(py, KEPT, size - size_of::<P>())?;
        }
        Ok(Self {
            class: class.cast_into::<PyType>()?.unbind(),
            payload: PhantomData,
        })
    }

    /// The Python class.
    pub(crate) fn class<'py>(&self, py: Python<'py>) -> &Bound<'py, PyType> {
        self.class.bind(py)
    }

    /// A new object around `payload`.
    ///
    /// # Errors
    /// `MemoryError`.
    #[inline]
    pub(crate) fn make<'py>(&self, py: Python<'py>, payload: P) -> PyResult<Bound<'py, PyAny>> {
        if let Some(freed) = P::freed() {
            let class = self.class.as_ptr();
            // SAFETY: the list holds freed objects of this very class. It takes references to object and class as a new object has them,
            // and the payload is written before the collector can see it.
            unsafe {
                let size = (*class.cast::<PyTypeObject>()).tp_basicsize.cast_unsigned();
                if let Some(object) = freed.take(size - size_of::<P>()) {
                    ffi::Py_INCREF(class);
                    _Py_NewReference(object);
                    payload_pointer::<P>(object).write(payload);
                    ffi::PyObject_GC_Track(object.cast());
                    return Ok(Bound::from_owned_ptr(py, object));
                }
            }
        }
        // SAFETY: the class was built by `build` for this very `P`; a generic allocation is zeroed and
        // sized by it. The payload is written before the object is handed to anybody: the collector knows
        // it already, but runs only in code that allocates.
        unsafe {
            let object = ffi::PyType_GenericAlloc(self.class.as_ptr().cast(), 0);
            if object.is_null() {
                return Err(error::fetch(py));
            }
            payload_pointer::<P>(object).write(payload);
            Ok(Bound::from_owned_ptr(py, object))
        }
    }

    /// The payload, if `object` is of this type.
    #[inline]
    pub(crate) fn payload<'a>(&self, object: &'a Bound<'_, PyAny>) -> Option<&'a P> {
        // SAFETY: the type is compared exactly, cannot be assigned to an object, and every object of it
        // has its payload; the object, and so the payload, outlives the borrow. Shared access only.
        unsafe {
            let same = ffi::Py_TYPE(object.as_ptr()) == self.class.as_ptr().cast();
            same.then(|| payload_of::<P>(object.as_ptr()))
        }
    }
}

unsafe extern "C" {
    /// Makes memory that has its type an object with one reference. In CPython's stable ABI for good, and in no binding.
    fn _Py_NewReference(object: *mut PyObject);
}

/// What an open instance has before its payload.
#[repr(C)]
struct Openness {
    dict: *mut PyObject,
    weak_references: *mut PyObject,
}

impl Openness {
    /// The members by which CPython learns where they are, if the first is at `offset`.
    fn members(offset: usize) -> Vec<ffi::PyMemberDef> {
        let member = |name: &'static CStr, within: usize| ffi::PyMemberDef {
            name: name.as_ptr(),
            type_code: ffi::Py_T_PYSSIZET,
            offset: (offset + within).cast_signed(),
            flags: ffi::Py_READONLY,
            doc: ptr::null(),
        };
        vec![
            member(c"__dictoffset__", offset_of!(Self, dict)),
            member(c"__weaklistoffset__", offset_of!(Self, weak_references)),
            ffi::PyMemberDef::default(),
        ]
    }
}

/// `__dict__`, as CPython offers it for types written in C.
fn dict_attribute() -> ffi::PyGetSetDef {
    ffi::PyGetSetDef {
        name: c"__dict__".as_ptr(),
        get: Some(ffi::PyObject_GenericGetDict),
        set: Some(ffi::PyObject_GenericSetDict),
        doc: ptr::null(),
        closure: ptr::null_mut(),
    }
}

/// Where an open instance's dictionary is kept; `None` if it is not open.
///
/// # Safety
/// `object` is of a type that `RawType::build` made.
unsafe fn dict_pointer(object: *mut PyObject) -> Option<*mut *mut PyObject> {
    // SAFETY: such a type's `tp_dictoffset` is the offset of that field, or zero.
    unsafe {
        let offset = (*ffi::Py_TYPE(object)).tp_dictoffset;
        (offset != 0).then(|| object.byte_offset(offset).cast())
    }
}

fn slot(slot: c_int, pfunc: *mut c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot { slot, pfunc }
}

/// Where the payload lies: at the object's very end, since the type has no subclasses and no items.
///
/// # Safety
/// `object` is of a type that `RawType::<P>::build` made.
#[inline(always)]
unsafe fn payload_pointer<P>(object: *mut PyObject) -> *mut P {
    // SAFETY: such a type's basicsize is an aligned offset plus `size_of::<P>()`.
    unsafe {
        let size = (*ffi::Py_TYPE(object)).tp_basicsize.cast_unsigned();
        object.byte_add(size - size_of::<P>()).cast()
    }
}

/// The payload of an object of a type built for `P`.
///
/// # Safety
/// `object` is such an object, is kept alive for `'a`, and the GIL is held.
#[inline(always)]
pub(super) unsafe fn payload_of<'a, P: Payload>(object: *mut PyObject) -> &'a P {
    // SAFETY: `make` wrote the payload, and only `free` takes it away.
    unsafe { &*payload_pointer::<P>(object) }
}

unsafe extern "C" fn refuse_alloc(_: *mut PyTypeObject, _: ffi::Py_ssize_t) -> *mut PyObject {
    let refuse = |_: Python<'_>| {
        Err(PyTypeError::new_err(
            "the event loop makes these objects, Python code cannot",
        ))
    };
    // SAFETY: called by CPython, so the thread is attached.
    unsafe { entry::enter(refuse) }
}

unsafe extern "C" fn free<P: Payload>(memory: *mut c_void) {
    let object: *mut PyObject = memory.cast();
    // SAFETY: the deallocator calls this once, with the type still in place and the last reference gone, so
    // the payload is ours alone and is dropped once. `clear` first: it lets go of Python objects with the
    // GIL in hand, whatever PyO3's own count of attachments says.
    unsafe {
        entry::enter_infallible(|py| {
            let payload = payload_pointer::<P>(object);
            (*payload).clear(py);
            ptr::drop_in_place(payload);
        });
        ffi::PyObject_GC_Del(memory);
    }
}

unsafe extern "C" fn traverse<P: Payload>(
    object: *mut PyObject,
    function: ffi::visitproc,
    argument: *mut c_void,
) -> c_int {
    let visit = Visit {
        function,
        argument,
        scope: PhantomData,
    };
    // SAFETY: the collector passes a live object of this type; nothing below runs Python code or counts
    // references, and a payload's `traverse` does not panic: it only reads slots.
    let visited = unsafe {
        visit_base(object, &visit)
            .and_then(|()| visit_dict(object, &visit))
            .and_then(|()| payload_of::<P>(object).traverse(&visit))
    };
    match visited {
        Ok(()) => 0,
        Err(Halt(code)) => code,
    }
}

/// Visits what the nearest C base owns, and the object's type exactly once: a heap type's traverse does
/// so itself, a static type's does not.
///
/// # Safety
/// `object` is live, and the collector is visiting it.
unsafe fn visit_base(object: *mut PyObject, visit: &Visit<'_>) -> Result<(), Halt> {
    // SAFETY: types outlive their instances and their base pointers are stable.
    unsafe {
        let class = ffi::Py_TYPE(object);
        let base = native_base(class, traverse_address, |inherited| inherited.traverse);
        if let Some(function) = (*base).tp_traverse {
            match function(object, visit.function, visit.argument) {
                0 => {}
                code => return Err(Halt(code)),
            }
            if (*base).tp_flags & ffi::Py_TPFLAGS_HEAPTYPE != 0 {
                return Ok(());
            }
        }
        visit.pointer(class.cast())
    }
}

/// # Safety
/// `object` is live and of a type that `RawType::build` made, and the collector is visiting it.
unsafe fn visit_dict(object: *mut PyObject, visit: &Visit<'_>) -> Result<(), Halt> {
    // SAFETY: by contract; the dictionary is NULL or a live object that the instance owns.
    match unsafe { dict_pointer(object).map(|dict| *dict) } {
        Some(dict) if !dict.is_null() => visit.pointer(dict),
        _ => Ok(()),
    }
}

unsafe extern "C" fn clear<P: Payload>(object: *mut PyObject) -> c_int {
    // SAFETY: the collector holds a reference to the live object of this type, and the GIL.
    unsafe {
        entry::enter_infallible(|py| payload_of::<P>(object).clear(py));
        if let Some(dict) = dict_pointer(object) {
            // Taken out first: its items may look at the instance when they go.
            ffi::Py_XDECREF(ptr::replace(dict, ptr::null_mut()));
        }
        let base = native_base(ffi::Py_TYPE(object), clear_address, |inherited| {
            inherited.clear
        });
        match (*base).tp_clear {
            Some(function) => function(object),
            None => 0,
        }
    }
}

/// The addresses of the slot functions that every class written in Python has. Those find their C base
/// by walking up from the object's type, and must not be called from a slot that replaces them there.
struct Inherited {
    traverse: usize,
    clear: usize,
}

/// They are functions of the interpreter's own binary: the same for the whole process.
static INHERITED: OnceLock<Inherited> = OnceLock::new();

impl Inherited {
    /// Reads them from an ordinary class, since CPython exports neither.
    fn of(py: Python<'_>) -> PyResult<&'static Self> {
        if let Some(known) = INHERITED.get() {
            return Ok(known);
        }
        let name = PyString::new(py, "Probe").into_any();
        let (bases, namespace) = (PyTuple::empty(py).into_any(), PyDict::new(py).into_any());
        let probe = call::with(&py.get_type::<PyType>(), [&name, &bases, &namespace])?
            .cast_into::<PyType>()?;
        // SAFETY: `probe` keeps the class alive.
        let found = unsafe {
            let class = probe.as_type_ptr();
            Self {
                traverse: traverse_address(class),
                clear: clear_address(class),
            }
        };
        Ok(INHERITED.get_or_init(|| found))
    }

    /// Whether the collector will see objects of a type below `class` whole.
    fn accept(&self, class: &Bound<'_, PyType>) -> PyResult<()> {
        let class = class.as_type_ptr();
        // SAFETY: the caller holds the class.
        let (traverse, offset, flags) = unsafe {
            (
                traverse_address(class),
                (*class).tp_dictoffset,
                (*class).tp_flags,
            )
        };
        let has_dict = offset != 0 || flags & ffi::Py_TPFLAGS_MANAGED_DICT != 0;
        if has_dict && traverse == self.traverse {
            return Err(PyTypeError::new_err(
                "a Python base with a __dict__ would hide it from the garbage collector",
            ));
        }
        Ok(())
    }
}

/// The nearest base of a type made by `build` whose slot is not the Python classes' one.
///
/// # Safety
/// `class` is live.
unsafe fn native_base(
    class: *mut PyTypeObject,
    address: unsafe fn(*mut PyTypeObject) -> usize,
    inherited: fn(&Inherited) -> usize,
) -> *mut PyTypeObject {
    let inherited = INHERITED.get().map_or(0, inherited);
    // SAFETY: a type keeps its base alive; the chain ends at `object`, whose slots are empty.
    unsafe {
        let mut base = (*class).tp_base;
        while address(base) == inherited {
            base = (*base).tp_base;
        }
        base
    }
}

/// # Safety
/// `class` is live.
unsafe fn traverse_address(class: *mut PyTypeObject) -> usize {
    // SAFETY: by contract.
    unsafe { (*class).tp_traverse.map_or(0, |function| function as usize) }
}

/// # Safety
/// `class` is live.
unsafe fn clear_address(class: *mut PyTypeObject) -> usize {
    // SAFETY: by contract.
    unsafe { (*class).tp_clear.map_or(0, |function| function as usize) }
}
